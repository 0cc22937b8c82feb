"""A compiled set: constraints taken apart into pieces, each projected onto by its own method."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.canonicalise import compile_constraints
from optlayers.compiler.presolve import presolve
from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import NO_VALUES, Values
from optlayers.projection.conditions import Condition, Conflict, find_conflicts, make_conditions, tolerance
from optlayers.projection.iterative_piece import MakePieces, Projected
from optlayers.projection.outcome import Outcome
from optlayers.projection.pieces import ClosedFormPiece, Layout, make_pieces
from optlayers.projection.residual import Residual
from optlayers.projection.tied_piece import make_general_pieces
from optlayers.projection.ties import Tied
from optlayers.recognition.blocks import decompose
from optlayers.sets.base import ClosedFormSet
from optlayers.solvers.status import worst

BoundSets = Sequence[ClosedFormSet | Tied]


class CompiledSet:
    """The set ``{y : A(p) y + b(p) in K}``, compiled once; its methods are functions of the parameter values.

    The presolved `form` is taken apart into `pieces`, recognised blocks, alike ones together, unless closed forms are
    not to be used; and `general`, which `make_others` makes of all other blocks, those of auxiliary entries alone
    included. Where the set is empty whatever the parameters are, `conflicts` says why.
    """

    def __init__(
        self, snapshot: Snapshot, make_others: MakePieces = make_general_pieces, *, closed_forms: bool = True
    ) -> None:
        self.form = presolve(compile_constraints(snapshot)[0])
        starts = snapshot.starts
        blocks, alone = decompose(self.form)
        self.conditions = make_conditions(alone, self.form, starts)
        self.pieces, others = make_pieces(blocks, starts) if closed_forms else ([], blocks)
        self.general = make_others([*others, *alone.hidden], snapshot, self.form.labels)
        recognised = [np.stack([block.columns for block in piece.blocks]) for piece in self.pieces]
        self.layout = Layout([*recognised, *(piece.columns for piece in self.general)])
        self.residual = Residual(self.form, starts) if self.form.auxiliary == 0 else None
        self._find_constant_conflicts()

    def _find_constant_conflicts(self) -> None:
        self.conflicts: list[Conflict] = []
        self._doubtful: list[tuple[int | None, ClosedFormPiece | Condition]] = []  # with the number of the piece
        numbered = [*enumerate(self.pieces), *((None, condition) for condition in self.conditions)]
        numbered += [(None, member) for piece in self.general for member in piece.members]
        for number, part in numbered:
            conflicts = [] if part.is_parametric else find_conflicts(part, NO_VALUES, self.form.labels)
            self.conflicts += conflicts
            if conflicts or part.is_parametric:
                self._doubtful.append((number, part))
        for piece in self.general:
            suspects = piece.constant_suspects()
            if suspects is not None:
                self.conflicts.append(Conflict(self._names(suspects), torch.tensor(True, device=NO_VALUES.device)))

    def _names(self, sources: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.form.labels[source] for source in sorted(sources))

    def origins_of(self, labels: Sequence[str]) -> list[int]:
        """Return the places of constraints in the compiled list; -1 for attributes of variables."""
        return [self.form.origins[self.form.labels.index(label)] for label in labels]

    def suspects(self, values: Values) -> tuple[str, ...]:
        """Return constraints that cannot hold together for one sample's parameter values, maybe more than needed."""
        conflicts = self.find_conflicts(values) or self.conflicts
        if conflicts:
            return conflicts[0].constraints
        for piece in self.general:
            sources = piece.suspects(values)
            if sources:
                return self._names(sources)
        return self.form.labels

    @property
    def takes_half(self) -> bool:
        """Whether points may keep a half type, since kernels take it."""
        return not self.general and all(piece.ties is None and piece.kind.kernels for piece in self.pieces)

    @property
    def clamps(self) -> bool:
        """Whether the projection only clamps entries."""
        return not self.general and all(piece.ties is None and piece.kind.clamps for piece in self.pieces)

    def bind(self, values: Values) -> BoundSets:
        """Return the pieces' sets for these parameter values."""
        return [piece.bind(values) for piece in self.pieces]

    def project(
        self,
        v: Tensor,
        values: Values,
        sets: BoundSets,
        *,
        relax: bool = False,
        start: Sequence[Tensor | None] | None = None,
    ) -> Outcome:
        """Project points ``(*batch, n)``; with `relax`, onto the least-infeasible points of empty general pieces."""
        parts = self.layout.split(v)
        results = [_project_part(bound, part, values.dtype) for bound, part in zip(sets, parts, strict=False)]
        if not self.general:
            return Outcome(self.layout.join(results))
        projected: list[Projected] = []
        for k, piece in enumerate(self.general):
            state = None if start is None else start[k]
            projected.append(piece.solve(parts[len(sets) + k], values, relax=relax, start=state))
        value = self.layout.join([*results, *(f.value for f in projected)])
        status = worst(torch.stack(torch.broadcast_tensors(*(f.status for f in projected)), -1))
        errors = [f.error for f in projected if f.error is not None]
        return Outcome(
            value,
            status,
            functools.reduce(torch.maximum, [f.steps for f in projected]),
            functools.reduce(torch.maximum, [f.violation for f in projected]),
            tuple(f.state.expand(*status.shape, *f.state.shape[-2:]) for f in projected),
            functools.reduce(torch.maximum, errors) if errors else None,
        )

    @torch.no_grad()
    def feasible(self, values: Values, sets: BoundSets) -> Tensor | None:
        """Return for which samples no closed form is known to be empty; None: for all, whatever the parameters are."""
        result: Tensor | None = None
        for number, part in self._doubtful:
            for check in part.checks(values) if number is None else sets[number].checks():
                holds = (check.amount <= tolerance(values.dtype)).flatten(-2).all(-1)
                result = holds if result is None else result & holds
        return result

    def find_conflicts(self, values: Values) -> list[Conflict]:
        """Return why the set is empty for some samples, as far as closed forms tell."""
        labels = self.form.labels
        return [conflict for _, part in self._doubtful for conflict in find_conflicts(part, values, labels)]


def _project_part(bound: ClosedFormSet | Tied, v: Tensor, dtype: torch.dtype) -> Tensor:
    """Project in the dtype of the data; points of a half type, where kernels take them, as they are."""
    if v.dtype == dtype or isinstance(bound, Tied):
        return bound.project(v)
    y = bound.fused(v)
    return (bound.project(v.to(dtype)) if y is None else y).to(v.dtype)
