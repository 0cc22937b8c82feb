"""A set whose parameter values are given: projection, residual, and whatever else is done piece by piece."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from optlayers.autograd.outside_autocast import outside_autocast
from optlayers.declaration.inputs import Problem
from optlayers.parametric.maps import Values
from optlayers.projection.compiled_set import CompiledSet
from optlayers.projection.outcome import Outcome
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet
from optlayers.solvers.status import Status

_SOLVED, _INFEASIBLE, _INVALID, _UNSOLVED = map(int, Status)


class BoundSet:
    """The set ``{y : A(p) y + b(p) in K}`` for the parameter values of one call, on points ``(*batch, n)``.

    A point is the flat values of all variables; `FeasibleSet.prepare` makes both. Batch dimensions of points and values
    broadcast. The set is a product of pieces, each on entries of its own.

    Parameters
    ----------
    compiled : CompiledSet
    values : Values
        One tensor ``(*batch, size)`` per parameter.
    problems : sequence of (str, Tensor)
        What is wrong with parameter values, and of which samples ``(*batch,)``.
    looks : bool
        Whether values may be looked at, which waits for the device: to leave out samples that are not finite. Without
        it they are projected, and the results thrown away.
    """

    def __init__(
        self, compiled: CompiledSet, values: Values, problems: Sequence[Problem] = (), *, looks: bool = False
    ) -> None:
        self.compiled, self.values, self.problems, self.looks = compiled, values, problems, looks
        self._sets: Sequence[ClosedFormSet | Tied] | None = None
        self._has_graph = False

    @property
    def sets(self) -> Sequence[ClosedFormSet | Tied]:
        """The closed-form sets, one per recognised piece; the pieces without closed form follow them."""
        if self._sets is None or (torch.is_grad_enabled() and not self._has_graph):
            self._sets, self._has_graph = self.compiled.bind(self.values), torch.is_grad_enabled()
        return self._sets

    @property
    def is_closed_form(self) -> bool:
        """Whether every piece has a closed form."""
        return not self.compiled.general

    @property
    def is_shared(self) -> bool:
        """Whether all samples have the same parameter values, and hence the same set."""
        return all(tensor.ndim == 1 for tensor in self.values.tensors)

    def split(self, v: Tensor) -> list[Tensor]:
        """Return the pieces' entries of points, ``(*batch, blocks, size)`` each."""
        return self.compiled.layout.split(v)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return points ``(*batch, n)`` from the pieces' entries; batch dimensions broadcast."""
        return self.compiled.layout.join(parts)

    def map_pieces(self, function: Callable[..., Tensor | None], *vectors: Tensor) -> Tensor | None:
        """Apply a function to each piece, and join the results.

        Parameters
        ----------
        function : callable
            Takes a closed-form set and the piece's entries of each vector, ``(*batch, blocks, size)``; returns as many
            entries, or None where it knows no answer.
        *vectors : Tensor, shape (*batch, n)

        Returns
        -------
        Tensor, shape (*batch, n), or None
            None if the function returns None, or some piece has no closed form.
        """
        if not self.is_closed_form:
            return None
        results = []
        for bound, *parts in zip(self.sets, *(self.split(vector) for vector in vectors), strict=True):
            result = function(bound, *parts)
            if result is None:
                return None
            results.append(result)
        return self.join(results)

    def nonempty(self) -> Tensor | None:
        """Return for which samples no closed form is known to be empty, ``(*batch,)``; None: for all."""
        return self.compiled.feasible(self.values, self.sets)

    def is_sound(self, *points: Tensor) -> bool:
        """Whether points are finite, parameters keep their attributes, and no closed form is empty; looks at values."""
        if self.problems or not all(surely_finite(v) or bool(v.isfinite().all()) for v in points):
            return False
        nonempty = self.nonempty()
        return nonempty is None or bool(nonempty.all())

    def project(self, v: Tensor, start: Sequence[Tensor] | None = None, *, relax: bool = False) -> Outcome:
        """Return the nearest points, with statuses unless all are solved; samples without answer are NaN.

        Parameters
        ----------
        v : Tensor, shape (*batch, n)
        start : sequence of Tensor, optional
            One per piece without closed form: `Outcome.state` of nearby points.
        relax : bool
            Whether samples whose set is empty get their least-infeasible point.
        """
        outcomes: list[Outcome] = []

        def run(v: Tensor, bound: BoundSet) -> Tensor:
            outcomes.append(bound._project(v, start, relax=relax))
            return outcomes[-1].value

        value = self.outside_autocast(run, v)
        return dataclasses.replace(outcomes[0], value=value)

    def residual(self, y: Tensor) -> Tensor:
        """Return the slack minus its projection onto the cone, ``(*batch, rows)``; see `FeasibleSet.residual`."""

        def run(y: Tensor, bound: BoundSet) -> Tensor:
            if bound.compiled.residual is not None:
                return bound.compiled.residual(y, bound.values)
            return y - bound._project(y, None, relax=False).value

        return self.outside_autocast(run, y)

    def outside_autocast(self, function: "Callable[[Tensor, BoundSet], Tensor]", v: Tensor) -> Tensor:
        """Return ``function(v, self)``, with its derivatives, outside autocast; both may become more precise for it."""

        def run(v: Tensor, *tensors: Tensor) -> Tensor:
            dtype = torch.promote_types(v.dtype, self.values.dtype)
            values = dataclasses.replace(self.values, tensors=tensors, dtype=dtype)
            return function(v, BoundSet(self.compiled, values, self.problems, looks=self.looks))

        if not torch.is_autocast_enabled(v.device.type):
            return function(v, self)
        return outside_autocast(run, v, *self.values.tensors)

    def _project(self, v: Tensor, start: Sequence[Tensor] | None, *, relax: bool) -> Outcome:
        tensors = (v, *self.values.tensors)
        suffices = surely_finite if self.compiled.clamps else are_moderate
        is_moderate = self.looks and not self.problems and all(map(suffices, tensors))
        if not is_moderate:
            v = self._without_infinities(v)
            tensors = (v, *self.values.tensors)
        if self.looks and not is_moderate:
            valid = _finite(tensors)
            for _, bad in self.problems:
                valid = valid & ~bad
            if not bool(valid.all()):
                return self._project_some(v, start, valid, relax=relax)
        nonempty, sets = self.nonempty(), self.sets
        if relax and nonempty is not None:
            sets = [bound.relaxed() for bound in sets]
        outcome = self.compiled.project(v, self.values, sets, relax=relax, start=start)
        y = outcome.value
        finite = None if is_moderate else y.isfinite().all(-1)
        all_solved = self.looks and nonempty is None and (outcome.status is None or not bool(outcome.status.any()))
        if all_solved and (finite is None or bool(finite.all())):
            return outcome
        valid = torch.ones_like(y[..., 0], dtype=torch.bool) if self.looks else _finite(tensors)
        solved = valid if nonempty is None else valid & nonempty
        status = torch.where(solved, _SOLVED, torch.where(valid, _INFEASIBLE, _INVALID))
        answered = valid if relax else solved
        if outcome.status is not None:
            status = torch.where(status == _SOLVED, outcome.status, status)
            answered = answered & ((outcome.status == _SOLVED) | relax)
        if finite is not None:  # sums of numbers near the end of their type's range overflow
            status = torch.where((status == _SOLVED) & ~finite, _UNSOLVED, status)
            answered = answered & finite
        y = torch.where(answered.unsqueeze(-1), y, torch.nan)
        return dataclasses.replace(outcome, value=y, status=status)

    def _without_infinities(self, v: Tensor) -> Tensor:
        """Replace infinite entries by finite ones that have the same nearest point, where the set bounds them."""
        if not any(isinstance(bound, ClosedFormSet) and bound.bounds_entries for bound in self.sets):
            return v
        parts = self.split(v)
        for k, bound in enumerate(self.sets):
            if isinstance(bound, ClosedFormSet) and bound.bounds_entries:
                parts[k] = bound.without_infinities(parts[k])
        return self.join(parts)

    def _project_some(self, v: Tensor, start: Sequence[Tensor] | None, samples: Tensor, *, relax: bool) -> Outcome:
        """Project some samples alone, so that the others, invalid ones, spoil neither them nor their gradients."""
        batch = samples.shape
        y = torch.full((*batch, v.shape[-1]), torch.nan, dtype=v.dtype, device=v.device)
        status = torch.full_like(samples, _INVALID, dtype=torch.int64)
        if not bool(samples.any()):
            return Outcome(y, status)

        def take(tensor: Tensor, event: int = 1) -> Tensor:
            return tensor.expand(*batch, *tensor.shape[tensor.ndim - event :])[samples]

        values = dataclasses.replace(self.values, tensors=tuple(map(take, self.values.tensors)))
        start = None if start is None else [take(part, 2) for part in start]
        outcome = BoundSet(self.compiled, values, looks=True).project(take(v), start, relax=relax)
        index = samples.nonzero(as_tuple=True)

        def spread(part: Tensor, fill: float) -> Tensor:
            return part.new_full((*batch, *part.shape[1:]), fill).index_put(index, part)

        return Outcome(
            y.index_put(index, outcome.value),
            status.index_put(index, torch.full_like(index[0], _SOLVED) if outcome.status is None else outcome.status),
            None if outcome.steps is None else spread(outcome.steps, 0),
            None if outcome.violation is None else spread(outcome.violation, torch.nan),
            tuple(spread(part, torch.nan) for part in outcome.state),
            None if outcome.error is None else spread(outcome.error, torch.nan),
        )


def are_moderate(tensor: Tensor) -> bool:
    """Whether the norm is less than one over the type's precision, in one pass over memory: then nothing overflows."""
    flat, dtype = tensor.detach(), torch.promote_types(tensor.dtype, torch.float32)
    most = 1 / torch.finfo(dtype).eps
    if flat.is_contiguous() and flat.dtype == dtype:
        flat = flat.view(-1)
        return float(torch.dot(flat, flat)) < most**2
    return float(torch.linalg.vector_norm(flat, dtype=dtype)) < most


def surely_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite, in one pass over memory; False may also mean that their sum overflows."""
    return math.isfinite(float(tensor.detach().sum()))


def _finite(tensors: Sequence[Tensor]) -> Tensor:
    """Return which samples are finite."""
    return functools.reduce(torch.logical_and, [tensor.isfinite().all(-1) for tensor in tensors])
