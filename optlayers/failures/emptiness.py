"""Which of the user's constraints cannot hold together, for samples whose set is empty."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.bound_set import BoundSet
from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import NO_VALUES, Values
from optlayers.projection.compiled_set import CompiledSet
from optlayers.solution import Status

_MOST_GROUPS = 5  # groups of constraints that are looked for in one batch
_MOST_CANDIDATES = 40  # constraints of one group that are tried to be left out


@dataclass(frozen=True, eq=False)
class Emptiness:
    """Constraints to be searched for a conflict."""

    snapshot: Snapshot

    def explain(self, bound: BoundSet, samples: Tensor) -> list[tuple[Tensor, tuple[str, ...]]]:
        """Return groups of constraints, none of which can be left out, with the samples for which they conflict.

        The first candidates are those with a part in a Farkas certificate; then one after the other is left out, if the
        rest still conflicts (the deletion filter: Chinneck, "Feasibility and Infeasibility in Optimization", 2008).
        `samples`, ``(*batch,)``, are those whose set is empty, and `bound` has all constraints.
        """
        groups: list[tuple[Tensor, tuple[str, ...]]] = []
        rest = samples
        while bool(rest.any()) and len(groups) < _MOST_GROUPS:
            values = _sample(bound.values, rest)
            labels = bound.compiled.suspects(values)
            keep = sorted(k for k in bound.compiled.origins_of(labels) if k >= 0)
            if not _is_empty(self._compile(keep), values):
                keep = list(range(len(self.snapshot.constraints)))
            keep = self._reduce(keep, values)
            smaller = self._compile(keep)
            covered = rest & (_status(smaller, bound.values) == int(Status.INFEASIBLE))
            if not bool(covered.any()):
                covered = rest
            suspects = smaller.suspects(values)  # tells which attributes have a part
            origins = zip(smaller.form.labels, smaller.form.origins, strict=True)
            needed = tuple(label for label, origin in origins if origin >= 0 or label in suspects)
            groups.append((covered, needed))
            rest = rest & ~covered
        if bool(rest.any()):
            groups.append((rest, bound.compiled.form.labels))
        return groups

    def explain_always(self, compiled: CompiledSet) -> tuple[str, ...]:
        """Return the constraints that conflict whatever the parameters are, of a set that has conflicts."""
        if self.snapshot.parameters:
            return compiled.conflicts[0].constraints
        return self.explain(BoundSet(compiled, NO_VALUES), torch.tensor(True, device=NO_VALUES.device))[0][1]

    def _reduce(self, keep: list[int], values: Values) -> list[int]:
        if len(keep) > _MOST_CANDIDATES:
            return keep
        for k in list(keep):
            fewer = [j for j in keep if j != k]
            if _is_empty(self._compile(fewer), values):
                keep = fewer
        return keep

    def _compile(self, keep: Sequence[int]) -> CompiledSet:
        return CompiledSet(self.snapshot.only(keep))


def _sample(values: Values, samples: Tensor) -> Values:
    """Return the parameter values of the first of some samples, in double precision."""
    index = tuple(samples.nonzero()[0].tolist())
    tensors = tuple(t.detach().expand(*samples.shape, t.shape[-1])[index].double() for t in values.tensors)
    return Values(tensors, torch.float64, values.device)


def _is_empty(compiled: CompiledSet, values: Values) -> bool:
    return bool((_status(compiled, values) == int(Status.INFEASIBLE)).all())


@torch.no_grad()
def _status(compiled: CompiledSet, values: Values) -> Tensor:
    """Return 1 for the samples whose set is empty, ``(*batch,)``."""
    zero = torch.zeros(compiled.form.size, dtype=values.dtype, device=values.device)
    status = BoundSet(compiled, values).project(zero).status
    return torch.zeros((), dtype=torch.int64, device=values.device) if status is None else status
