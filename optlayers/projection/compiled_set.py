"""A compiled set: constraints taken apart into pieces, each projected onto by its own method."""

from __future__ import annotations

from collections.abc import Sequence

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.canonicalise import compile_constraints
from optlayers.compiler.presolve import presolve
from optlayers.parametric.maps import Values
from optlayers.projection.conditions import (
    Condition,
    Conflict,
    find_conflicts,
    make_conditions,
    sort_hidden,
    tolerance,
)
from optlayers.projection.general_piece import GeneralPiece
from optlayers.projection.pieces import Layout, Piece, make_pieces
from optlayers.projection.residual import Residual
from optlayers.projection.ties import Tied
from optlayers.recognition.blocks import decompose
from optlayers.sets.base import ClosedFormSet

BoundSets = Sequence[ClosedFormSet | Tied]


class CompiledSet:
    """The set ``{y : A(p) y + b(p) in K}``, compiled once; its methods are functions of the parameter values.

    Attributes
    ----------
    form : ConicForm
        The presolved conic form.
    pieces : list of Piece
        Recognised blocks, alike ones together.
    general : GeneralPiece or None
        All other blocks.
    conflicts : list of Conflict
        Why the set is empty whatever the parameters are; none, as a rule.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        positions: Sequence[int] | None = None,
        *,
        closed_forms: bool = True,
    ) -> None:
        self.form = presolve(compile_constraints(constraints, variables, parameters, positions))
        starts = [0, *np.cumsum([p.size for p in parameters])[:-1].tolist()] if parameters else []
        blocks, alone = decompose(self.form)
        sources, failing = sort_hidden(alone.hidden, blocks, constraints, self.form, starts)
        self.conditions = make_conditions(alone, self.form, starts) + failing
        recognised = [block for block in blocks if closed_forms and not block.sources & sources]
        self.pieces, rest = make_pieces(recognised, starts)
        rest += [block for block in blocks if not closed_forms or block.sources & sources]
        self.general: GeneralPiece | None = None
        if rest:
            sources |= set().union(*(block.sources for block in rest))
            self.general = GeneralPiece(rest, sources, self.form, constraints, variables, parameters)
        columns = [np.stack([block.columns for block in piece.blocks]) for piece in self.pieces]
        self.layout = Layout([*columns, *([self.general.entries[None]] if self.general else [])])
        self.residual = Residual(self.form, starts) if self.form.auxiliary == 0 else None
        self._find_constant_conflicts()

    def _find_constant_conflicts(self) -> None:
        nothing = Values((), torch.float64, torch.device("cpu"))
        self.conflicts: list[Conflict] = []
        self._doubtful: list[tuple[int | None, Piece | Condition]] = []  # with the number of the piece
        numbered = [*enumerate(self.pieces), *((None, condition) for condition in self.conditions)]
        for number, part in numbered:
            conflicts = [] if part.is_parametric else find_conflicts(part, nothing, self.form.labels)
            self.conflicts += conflicts
            if conflicts or part.is_parametric:
                self._doubtful.append((number, part))
        if self.general is not None and self.general.is_empty():
            self.conflicts.append(Conflict(self.general.labels, torch.tensor(True)))

    def bind(self, values: Values) -> BoundSets:
        """Return the pieces' sets for these parameter values."""
        return [piece.bind(values) for piece in self.pieces]

    def project(self, v: Tensor, values: Values, sets: BoundSets) -> Tensor:
        """Project points ``(*batch, n)``; samples that the general method fails on are NaN."""
        parts = self.layout.split(v)
        results = [bound.project(part) for bound, part in zip(sets, parts, strict=False)]
        if self.general is not None:
            results.append(self.general.bind(values).project(parts[-1]))
        return self.layout.join(results)

    @torch.no_grad()
    def feasible(self, values: Values, sets: BoundSets) -> Tensor | None:
        """Return for which samples no closed form is known to be empty; None: for all, whatever the parameters are."""
        result: Tensor | None = None
        for number, part in self._doubtful:
            amount = part.infeasibility(values) if number is None else sets[number].infeasibility()
            if amount is not None:
                holds = (amount <= tolerance(values.dtype)).flatten(-2).all(-1)
                result = holds if result is None else result & holds
        return result

    def find_conflicts(self, values: Values) -> list[Conflict]:
        """Return why the set is empty for some samples."""
        labels = self.form.labels
        return [conflict for _, part in self._doubtful for conflict in find_conflicts(part, values, labels)]
