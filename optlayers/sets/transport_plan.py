"""Transport plans: matrices with bounds on the sums of their rows and columns, and on their entries."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced
from optlayers.parametric.range import Range, clamp, filled
from optlayers.parametric.symbolic import Affine, Data, as_number, gather
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.transport_rows import TransportRows, find_transport_rows
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.search.transport_graph import potentials
from optlayers.sets.search.transport_relaxation import finite, give_way, least_violating_sums
from optlayers.sets.search.transport_search import find_face

_UNSOLVED = {torch.float64: 1e-8, torch.float32: 1e-4}  # of the totals and the point: more than any rounding
_EMPTY = 1e-9  # by how much the sums of an empty polytope miss the totals, relative to these


@register
@dataclass(frozen=True, eq=False)
class TransportPlan(ClosedFormSet):
    """Matrices whose entries, sums of rows and sums of columns lie between bounds.

    ``Y = clamp(V - a 1' - 1 b', lower, upper)`` with a multiplier for each total, found by a semismooth Newton method
    on the dual (Li, Sun and Toh, "On the efficient computation of a projector over the Birkhoff polytope", 2020). Some
    of the matrix's entries may be absent.

    Attributes
    ----------
    lower, upper : Tensor, shape (*batch, k), or None
    rows, columns : Range of Tensor, shape (*batch, m), (*batch, n)
        Of the sums; bounds are infinite where there are none.
    entry : Tensor, shape (*batch, m * n), or None
        Which entry of a point stands at each place of the matrix, `k` where there is none; None for a point that is
        the matrix in C order.
    place : Tensor, shape (*batch, k), or None
        Where each entry stands.
    """

    name = "transport polytope"
    lower: Tensor | None
    upper: Tensor | None
    rows: Range[Tensor]
    columns: Range[Tensor]
    entry: Tensor | None
    place: Tensor | None

    @staticmethod
    def constraints(
        x: cp.Variable,
        rows: Any = None,
        columns: Any = None,
        shares: Any = None,
        rows_lower: Any = None,
        rows_upper: Any = None,
        columns_lower: Any = None,
        columns_upper: Any = None,
        lower: Any = None,
        upper: Any = None,
        absent: Any = None,
    ) -> list[cp.Constraint]:
        """Define the set; `shares` are the columns' parts of the sum of all rows, `absent` marks entries that are 0."""
        by_row, by_column = cp.sum(x, axis=1), cp.sum(x, axis=0)
        columns = columns if shares is None else shares * cp.sum(rows)
        result = between(x, lower, upper)
        result += between(by_row, rows_lower, rows_upper, rows)
        result += between(by_column, columns_lower, columns_upper, columns)
        return result + ([x[np.nonzero(absent)] == 0] if absent is not None else [])

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        arranged = _arranged(block)
        if arranged is None:
            return None
        fields: dict[str, Data | Range[Data] | None] = {"lower": block.lower, "upper": block.upper}
        for side, rows in (("rows", arranged.rows), ("columns", arranged.columns)):
            lower = gather([row and row.lower for row in rows], -np.inf, block.parameters)
            upper = gather([row and row.upper for row in rows], np.inf, block.parameters)
            is_fixed = all(row is not None and row.is_equality for row in rows)
            fields[side] = Range.fixed(lower) if is_fixed else Range(lower, upper)
        for name, index in (("entry", arranged.entry.ravel()), ("place", arranged.place)):
            fields[name] = None if arranged.is_full else Affine.of(index, block.parameters)
        return fields

    @classmethod
    def label(cls, block: Block) -> str:
        arranged = _arranged(block)
        assert arranged is not None
        m, n = arranged.entry.shape
        totals = {
            (as_number(r.lower, -np.inf), as_number(r.upper, np.inf)) for r in (*arranged.rows, *arranged.columns) if r
        }
        (low, high) = next(iter(totals))
        nonnegative = block.lower is not None and block.lower.is_zero
        capped = block.upper is not None
        if block.upper is not None and block.upper.numbers is not None:
            capped = bool((block.upper.numbers < high).any())
        if arranged.entry.size == block.size and m == n and len(totals) == 1 and low == high and nonnegative:
            return cls.name if capped else "Birkhoff polytope"
        return cls.name

    def project(self, v: Tensor) -> Tensor:
        """Search for the face, then solve for the multipliers with this fixed, in double precision.

        An entry exactly at a bound takes the derivative of the bound, a total exactly at its bound that of the bound.
        An empty polytope's points are NaN.
        """
        grid = self._grid(v.double())
        y = self._matrix(grid, *self.entry_bounds(grid)).flatten(-2)
        if self.place is not None:
            place = self.place.long()
            batch = torch.broadcast_shapes(y.shape[:-1], place.shape[:-1])
            y = y.expand(*batch, y.shape[-1]).gather(-1, place.expand(*batch, place.shape[-1]))
        return y.to(v.dtype)

    def _matrix(self, v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Project matrices ``(*batch, m, n)``."""
        rows, columns = self.totals
        face = find_face(v, lower, upper, rows, columns)
        y = clamp(v - face.a.unsqueeze(-1) - face.b.unsqueeze(-2), lower, upper)
        ra = _excess(y.sum(-1), face.rows, rows)
        rb = _excess(y.sum(-2), face.columns, columns)
        a, b = potentials(face.free, face.rows, face.columns, face.label, ra, rb)
        y = y - face.free * (a.unsqueeze(-1) + b.unsqueeze(-2))
        scale = _size(rows, columns, face.missed)
        tolerance, value = _UNSOLVED[self.dtype], primal(y)
        inside = torch.clamp(value, primal(lower), primal(upper))
        ra = primal(_excess(inside.sum(-1), face.rows, rows)).abs().amax(-1)
        rb = primal(_excess(inside.sum(-2), face.columns, columns)).abs().amax(-1)
        unsolved = face.missed > tolerance * (scale + primal(v).abs().amax((-2, -1)))
        unsolved = unsolved | ~(torch.maximum(ra, rb) <= tolerance * (scale + inside.abs().amax((-2, -1))))
        return torch.where(unsolved[..., None, None], torch.nan, y + (inside - value))

    def _grid(self, tensor: Tensor, absent: float = 0.0) -> Tensor:
        """Arrange entries as matrices ``(*batch, m, n)``."""
        m, n = self.shape
        if self.entry is None:
            return tensor.reshape(*tensor.shape[:-1], m, n)
        entry = self.entry.long()
        padded = torch.cat([tensor, tensor.new_full((*tensor.shape[:-1], 1), absent)], -1)
        batch = torch.broadcast_shapes(tensor.shape[:-1], entry.shape[:-1])
        padded, entry = (t.expand(*batch, t.shape[-1]) for t in (padded, entry))
        return padded.gather(-1, entry).reshape(*batch, m, n)

    def entry_bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds as matrices; entries that are absent are fixed at zero."""
        entries = like.new_zeros(math.prod(self.shape)) if self.place is None else torch.zeros_like(self.place)
        lower, upper = filled(self.lower, -torch.inf, entries), filled(self.upper, torch.inf, entries)
        return self._grid(lower.double()), self._grid(upper.double())

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's."""
        return self.rows.bounds[0].shape[-1], self.columns.bounds[0].shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        return self.rows.bounds[0].dtype

    @property
    def totals(self) -> tuple[Range[Tensor], Range[Tensor]]:
        """The ranges of the sums, in double precision."""
        return self.rows.map(torch.Tensor.double), self.columns.map(torch.Tensor.double)

    def checks(self) -> list[Check]:
        """Check that no totals and no bounds cross, and that some matrix within its bounds has such sums."""
        checks = Box(self.lower, self.upper).checks()
        for totals, kind in ((self.rows, "rows"), (self.columns, "columns")):
            crossing = totals.crossing()
            checks += [] if crossing is None else [Check(crossing, partial(_total_sources, kind))]
        missed = self.missed()
        for check in checks:
            missed = torch.where((check.amount > 0).any(-1), -1.0, missed)
        return [*checks, Check.one(missed)]

    def missed(self) -> Tensor:
        """Return by how much the sums of the matrix nearest to zero miss the totals, relative to these."""
        rows, columns = self.totals
        zero = rows.bounds[0].new_zeros(self.shape)
        face = find_face(zero, *self.entry_bounds(zero), rows, columns)
        return (face.missed / _size(rows, columns, face.missed).clamp_min(1.0)).to(self.dtype)

    def relaxed(self) -> "TransportPlan":
        """Minimise squared violations: bounds that cross meet halfway; then the totals give way."""
        entries = Range(self.lower, self.upper).uncrossed()
        rows, columns = self.rows.uncrossed(), self.columns.uncrossed()
        plan = replace(self, lower=entries.lower, upper=entries.upper, rows=rows, columns=columns)
        empty = plan.missed() > _EMPTY
        if not is_traced() and not bool(empty.any()):
            return plan
        sums = least_violating_sums(*plan.entry_bounds(rows.bounds[0]), *plan.totals)
        rows, columns = (
            give_way(empty.unsqueeze(-1), total.to(self.dtype), given)
            for total, given in zip(sums, (rows, columns), strict=True)
        )
        return replace(plan, rows=rows, columns=columns)

    @staticmethod
    def examples() -> Examples:
        one, zero = np.ones(3), np.zeros((3, 3))
        yield {"size": (3, 3), "rows": one, "columns": one, "lower": zero, "fixed": ("rows", "columns", "lower")}
        rows, shares = np.array([1.03, 0.41]), np.array([0.23, 0.46, 0.31])
        wide = np.zeros((2, 3))
        yield {"size": (2, 3), "rows": rows, "shares": shares, "lower": wide, "fixed": ("shares", "lower")}
        caps = np.array([[0.61, 0.47, 0.33], [0.27, 0.52, 0.43]])
        yield {"size": (2, 3), "rows": rows, "shares": shares, "lower": wide, "upper": caps, "fixed": ("shares",)}
        capacities, columns = np.array([1.01, 0.53, 0.74]), np.array([0.62, 0.95])
        yield {"size": (3, 2), "rows_upper": capacities, "columns": columns, "lower": wide.T}
        yield {
            "size": (2, 3),
            "rows_lower": np.array([0.21, 0.34]),
            "rows_upper": np.array([1.02, 0.91]),
            "columns_lower": np.array([0.11, 0.03, 0.24]),
            "columns_upper": np.array([0.53, 0.86, 0.62]),
            "lower": wide - 0.1,
            "upper": caps,
        }
        yield {
            "size": (3, 3),
            "rows_upper": np.array([1.03, 0.92, 0.31]),
            "columns": np.array([0.53, 0.34, 0.46]),
            "lower": zero,
            "absent": np.eye(3),
            "fixed": ("absent", "lower"),
        }


def _arranged(block: Block) -> TransportRows | None:
    if len(block.rows) < 2 or block.cones or block.auxiliary:
        return None
    if not block.has_bounds and all(row.is_equality for row in block.rows):
        return None
    return find_transport_rows(block)


def _total_sources(kind: str, block: Block) -> list[set[int]]:
    """Return the user's constraints on each total."""
    arranged = _arranged(block)
    assert arranged is not None
    return [set() if row is None else row.sources for row in getattr(arranged, kind)]


def _excess(total: Tensor, active: Tensor, allowed: Range[Tensor]) -> Tensor:
    """Return by how much sums with an active bound exceed it: the nearer one."""
    nearest = allowed.bounds[0]
    if not allowed.is_fixed:
        lower, upper = allowed.bounds
        nearest = torch.where(upper - total <= total - lower, upper, lower)
    return total - torch.where(active > 0, nearest, total)


def _size(rows: Range[Tensor], columns: Range[Tensor], like: Tensor) -> Tensor:
    """Return the largest finite total of each sample."""
    bounds = (*rows.bounds, *columns.bounds)
    return torch.stack([finite(primal(t)).amax(-1).expand_as(like) for t in bounds]).amax(0)
