"""A compiled set: constraints taken apart into pieces, each projected onto by its own method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm, compile_constraints
from optlayers.compiler.presolve import presolve
from optlayers.parametric.maps import Values
from optlayers.projection.general_piece import GeneralPiece
from optlayers.projection.pieces import Layout, Piece, make_pieces
from optlayers.projection.reference import is_empty
from optlayers.projection.residual import Residual, member
from optlayers.recognition.blocks import Conditions, decompose


@dataclass(frozen=True)
class Conflict:
    """Why the set is empty: the constraints at fault, and for which samples (a mask of the batch's shape)."""

    constraints: tuple[str, ...]
    samples: Tensor


class Condition:
    """What constraints ask of the parameters alone: that some values are zero, nonnegative, or in a cone."""

    def __init__(self, kind: str, rows: AffineRows, starts: Sequence[int], alpha: float = 0.0) -> None:
        offset = rows.offset
        self.kind, self.alpha = kind, alpha
        self.is_parametric = not offset.is_constant
        self.sources = [set(rows.sources_of(k)) for k in range(len(rows))]
        self.slack = offset.compile(starts)

    def infeasibility(self, values: Values) -> Tensor:
        """Return by how much each row fails, ``(*batch, 1, rows)``."""
        slack = self.slack(values)
        if self.kind == "zero":
            amount = slack.abs()
        elif self.kind == "nonneg":
            amount = -slack
        else:
            amount = (slack - member(self.kind, self.alpha, slack)).abs()
        return amount.unsqueeze(-2)

    def blame(self, block: int, check: int) -> set[int]:
        """Return the user's constraints that row number `check` comes from."""
        return self.sources[check]


def _conditions(
    conditions: Conditions, constraints: Sequence[cp.Constraint], form: ConicForm, starts: Sequence[int]
) -> list[Condition]:
    """Return the conditions on the parameters; auxiliary variables alone are looked into once and for all."""
    rows = [("zero", conditions.equalities, 0.0), ("nonneg", conditions.inequalities, 0.0)]
    rows += [(cone.kind, cone.rows, cone.alpha) for cone in conditions.cones]
    for block in conditions.hidden:
        sources = sorted(block.sources)
        own = [constraints[form.origins[source]] for source in sources if form.origins[source] >= 0]
        if any(con.parameters() for con in own):
            names = "; ".join(form.labels[source] for source in sources)
            raise ValueError(
                f"{names}: restricts parameters alone, in a way that has no closed form. Check the parameters in torch."
            )
        if is_empty(own):
            everything = AffineRows.concatenate([form.equalities, form.inequalities, *(c.rows for c in form.cones)])
            chosen = [k for k in range(len(everything)) if set(everything.sources_of(k)) & block.sources]
            rows.append(("nonneg", everything[np.array(chosen)].numbers(-1.0), 0.0))
    return [Condition(kind, part, starts, alpha) for kind, part, alpha in rows if len(part)]


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
    doubtful : list
        The pieces and conditions that can be empty or fail.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        *,
        closed_forms: bool = True,
    ) -> None:
        self.form = presolve(compile_constraints(constraints, variables, parameters))
        starts = [0, *np.cumsum([p.size for p in parameters])[:-1].tolist()] if parameters else []
        blocks, alone = decompose(self.form)
        self.conditions = _conditions(alone, constraints, self.form, starts)
        self.pieces, rest = make_pieces(blocks, starts) if closed_forms else ([], blocks)
        self.general = GeneralPiece(rest, self.form, constraints, variables, parameters) if rest else None
        columns = [np.stack([block.columns for block in piece.blocks]) for piece in self.pieces]
        self.layout = Layout([*columns, *([self.general.entries[None]] if self.general else [])])
        self.residual = Residual(self.form, starts) if self.form.auxiliary == 0 else None
        parts: list[Piece | Condition] = [*self.pieces, *self.conditions]
        nothing = Values((), torch.float64, torch.device("cpu"))
        constant = [part for part in parts if not part.is_parametric]
        conflicts = [_conflict(part, nothing, self.form.labels) for part in constant]
        self.conflicts = [conflict for conflict in conflicts if conflict is not None]
        if self.general is not None and self.general.is_empty():
            self.conflicts.append(Conflict(self.general.labels, torch.tensor(True)))
        impossible = [part for part, conflict in zip(constant, conflicts, strict=True) if conflict is not None]
        self.doubtful = impossible + [part for part in parts if part.is_parametric]

    def project(self, v: Tensor, values: Values, *, relaxed: bool = False) -> Tensor:
        """Project points ``(*batch, n)``; `relaxed` asks for the least-infeasible points of empty sets."""
        parts = self.layout.split(v)
        sets = [piece.bind(values) for piece in self.pieces]
        if relaxed:
            sets = [bound.relaxed() for bound in sets]
        results = [bound.project(part) for bound, part in zip(sets, parts, strict=False)]
        if self.general is not None:
            results.append(self.general.bind(values).project(parts[-1]))
        return self.layout.join(results)

    def feasible(self, values: Values) -> Tensor | None:
        """Return for which samples no closed form is known to be empty; None: for all, whatever the parameters are."""
        result: Tensor | None = None
        for part in self.doubtful:
            amount = part.infeasibility(values)
            if amount is not None:
                holds = (amount <= _tolerance(values.dtype)).flatten(-2).all(-1)
                result = holds if result is None else result & holds
        return result

    def conflict(self, values: Values) -> Conflict | None:
        """Return the first reason why the set is empty for some samples, or None."""
        return next(filter(None, (_conflict(part, values, self.form.labels) for part in self.doubtful)), None)


def _conflict(part: Piece | Condition, values: Values, labels: Sequence[str]) -> Conflict | None:
    amount = part.infeasibility(values)
    failed = None if amount is None else ~(amount <= _tolerance(values.dtype))
    if failed is None or not bool(failed.any()):
        return None
    samples = failed.flatten(-2).any(-1)
    first = failed.reshape(-1, *failed.shape[-2:])[int(samples.flatten().nonzero()[0, 0])]
    block, check = first.nonzero()[0].tolist()
    return Conflict(tuple(labels[source] for source in sorted(part.blame(block, check))), samples)


def _tolerance(dtype: torch.dtype) -> float:
    """Return the excess, relative to the data, from which a set counts as empty."""
    return 1e-9 if dtype == torch.float64 else 1e-5
