"""The dual of the projection onto a transport polytope.

With a multiplier for each total, ``Y = clamp(V - a 1' - 1 b', lower, upper)``, and the gradient of the dual function is
by how much the sums of `Y` exceed the totals. It is piecewise linear; its generalised Jacobian is that of a bipartite
graph, whose edges are the entries strictly between their bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from optlayers.sets.search.section_search import free_mask, search

SLOPE = 1e6  # of the total in its multiplier, where it is between its bounds
_ROOT = SLOPE**0.5
_EMPTY = 1e-9  # relative excess of a total over its reach
_ROUNDING, _RAY = 1e-10, 1e-7  # of directions; and the slope, relative to the totals, that proves a polytope empty


@dataclass(frozen=True, eq=False)
class Totals:
    """Bounds on the sums of one side, ``(samples or 1, m)``.

    The dual function has a kink where the multiplier of an inequality is zero. The proximal point method rounds it off:
    the sum that belongs to a multiplier `a` is ``clamp(center + slope * a, lower, upper)``. Where the center is that
    sum itself, the multiplier is zero, and nothing has been rounded off.
    """

    lower: Tensor
    upper: Tensor
    center: Tensor
    is_fixed: bool

    @staticmethod
    def balanced(rows: Totals, columns: Totals) -> tuple[Totals, Totals]:
        """Return totals whose sums agree to rounding, or where no side is fixed, what was given."""
        if not (rows.is_fixed and columns.is_fixed):
            return rows, columns
        gap = (rows.upper.sum(-1, keepdim=True) - columns.upper.sum(-1, keepdim=True)) / 2
        levels = rows.upper - gap / rows.upper.shape[-1], columns.upper + gap / columns.upper.shape[-1]
        return tuple(Totals(level, level, level, True) for level in levels)  # pyright: ignore

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor) -> Totals:
        zero = torch.zeros_like(lower)
        return cls(lower, upper, zero.maximum(lower).minimum(upper), bool((lower == upper).all()))

    def at(self, multiplier: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums that belong to multipliers, and where they are between their bounds."""
        if self.is_fixed:
            return self.upper, torch.zeros_like(multiplier, dtype=torch.bool)
        total = (self.center + SLOPE * multiplier).maximum(self.lower).minimum(self.upper)
        return total, (total > self.lower) & (total < self.upper)

    def entries(self, multiplier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points and bounds of entries whose sections with the normal ``_ROOT`` stand for minus the totals."""
        return tuple(-t / _ROOT for t in (self.center + SLOPE * multiplier, self.upper, self.lower))  # pyright: ignore

    def hold(self, total: Tensor, multiplier: Tensor) -> Tensor:
        """Return which sums are held by a bound."""
        return (self.lower == self.upper) | (multiplier != 0) | (total <= self.lower) | (total >= self.upper)

    def missed(self, total: Tensor) -> Tensor:
        """Return by how much the sums of each sample are outside their bounds."""
        return (total - total.maximum(self.lower).minimum(self.upper)).abs().amax(-1)

    def size(self) -> Tensor:
        """Return the largest finite total of each sample."""
        low, high = (torch.where(t.isfinite(), t.abs(), 0.0).amax(-1) for t in (self.lower, self.upper))
        return torch.maximum(low, high)

    def __getitem__(self, index: Tensor) -> Totals:
        lower, upper, center = (t if len(t) == 1 else t[index] for t in (self.lower, self.upper, self.center))
        return Totals(lower, upper, center, self.is_fixed)


@dataclass(frozen=True, eq=False)
class Sums:
    """What multipliers lead to.

    Attributes
    ----------
    x, y : Tensor, shape (samples, m, n)
        The point minus the multipliers, and that within the bounds.
    rows, columns : Tensor, shape (samples, m), (samples, n)
        By how much sums exceed the totals: the gradient of the dual function.
    between_rows, between_columns : Tensor of bool
        Whether the totals are between their bounds.
    """

    x: Tensor
    y: Tensor
    rows: Tensor
    columns: Tensor
    between_rows: Tensor
    between_columns: Tensor

    def __getitem__(self, index: Tensor) -> Sums:
        own = (self.x, self.y, self.rows, self.columns, self.between_rows, self.between_columns)
        x, y, rows, columns, between_rows, between_columns = (t[index] for t in own)
        return Sums(x, y, rows, columns, between_rows, between_columns)

    def along(self, da: Tensor, db: Tensor) -> Tensor:
        """Return the slope of the dual function along a direction."""
        return (self.rows * da).sum(-1) + (self.columns * db).sum(-1)

    @cached_property
    def missed(self) -> Tensor:
        """The largest excess of each sample."""
        return torch.maximum(self.rows.abs().amax(-1), self.columns.abs().amax(-1))


@dataclass(frozen=True, eq=False)
class Dual:
    """Points and polytopes of some samples: ``(samples or 1, m, n)``; bounds are None where there are none."""

    v: Tensor
    lower: Tensor | None
    upper: Tensor | None
    rows: Totals
    columns: Totals

    @property
    def mT(self) -> Dual:  # noqa: N802
        v, lower, upper = (None if t is None else t.mT.contiguous() for t in (self.v, self.lower, self.upper))
        assert v is not None
        return Dual(v, lower, upper, self.columns, self.rows)

    def __getitem__(self, index: Tensor) -> Dual:
        lower, upper = (t if t is None or len(t) == 1 else t[index] for t in (self.lower, self.upper))
        return Dual(self.v[index], lower, upper, self.rows[index], self.columns[index])

    def clamp(self, x: Tensor) -> Tensor:
        return x if self.lower is None and self.upper is None else torch.clamp(x, self.lower, self.upper)

    def free(self, y: Tensor) -> Tensor:
        """Return 1 for entries strictly between their bounds, else 0."""
        return torch.ones_like(y) if self.lower is None and self.upper is None else free_mask(y, self.lower, self.upper)

    def sums(self, a: Tensor, b: Tensor) -> Sums:
        """Return what multipliers lead to."""
        x = self.v - a.unsqueeze(-1) - b.unsqueeze(-2)
        y = self.clamp(x)
        (rows, between_rows), (columns, between_columns) = self.rows.at(a), self.columns.at(b)
        return Sums(x, y, y.sum(-1) - rows, y.sum(-2) - columns, between_rows, between_columns)

    @cached_property
    def magnitude(self) -> Tensor:
        """Return the size of the totals."""
        return torch.maximum(self.rows.size(), self.columns.size())

    def out_of_reach(self) -> Tensor:
        """Whether some row's or column's total cannot be had from its own entries: the set of the sample is empty."""
        result = torch.zeros((), dtype=torch.bool, device=self.v.device)
        for dim, totals in ((-1, self.rows), (-2, self.columns)):
            for bound, total, sign in ((self.lower, totals.upper, 1.0), (self.upper, totals.lower, -1.0)):
                if bound is not None:
                    reach, size = bound.sum(dim), bound.abs().sum(dim) + total.abs()
                    result = result | (sign * (reach - total) > _EMPTY * size).any(-1)
        return result

    def best_row_multipliers(self, b: Tensor) -> Tensor:
        """Maximise over the multipliers of the rows, those of the columns fixed: one box section for each row."""
        x = self.v - b.unsqueeze(-2)
        if self.rows.is_fixed:
            return search(x, None, self.lower, self.upper, self.rows.upper.expand(x.shape[:-1]))
        own, low, high = self.rows.entries(torch.zeros_like(x[..., 0]))
        lower, upper = (
            _joined(torch.full_like(x[:1], absent) if t is None else t, extra)
            for t, extra, absent in ((self.lower, low, -torch.inf), (self.upper, high, torch.inf))
        )
        normal = x.new_ones(x.shape[-1] + 1)
        normal[-1] = _ROOT
        return search(_joined(x, own), normal, lower, upper, x.new_zeros(x.shape[:-1]))


def _joined(grid: Tensor, extra: Tensor) -> Tensor:
    samples = max(len(grid), len(extra))
    return torch.cat([grid.expand(samples, -1, -1), extra.expand(samples, -1).unsqueeze(-1)], -1)


def is_ray(dual: Dual, da: Tensor, db: Tensor) -> Tensor:
    """Whether the dual function increases along a direction for ever: a certificate that the polytope is empty."""
    normal = da.unsqueeze(-1) + db.unsqueeze(-2)
    size = torch.maximum(da.abs().amax(-1), db.abs().amax(-1))
    rounding = (_ROUNDING * size).unsqueeze(-1)
    slope = -_RAY * size * dual.magnitude
    for change, totals in ((da, dual.rows), (db, dual.columns)):
        slope = slope - _extreme(change, rounding, totals.upper, totals.lower).sum(-1)
    return slope + _extreme(normal, rounding.unsqueeze(-1), dual.lower, dual.upper).sum((-2, -1)) > 0


def _extreme(normal: Tensor, rounding: Tensor, above: Tensor | None, below: Tensor | None) -> Tensor:
    """Return the products of a normal with the bound that it meets, by its sign."""
    high, low = (
        torch.full_like(normal, absent) if t is None else t for t, absent in ((above, -torch.inf), (below, torch.inf))
    )
    return torch.where(normal > rounding, normal * high, torch.where(normal < -rounding, normal * low, 0.0))


def line_search(dual: Dual, x: Tensor, a: Tensor, b: Tensor, da: Tensor, db: Tensor) -> Tensor:
    """Return the best step along a direction."""
    normals = [(da.unsqueeze(-1) + db.unsqueeze(-2)).flatten(1)]
    points = [x.flatten(1)]
    bounds = [[None if t is None else t.flatten(1)] for t in (dual.lower, dual.upper)]
    total = torch.zeros_like(a[:, 0])
    for value, change, totals in ((a, da, dual.rows), (b, db, dual.columns)):
        if totals.is_fixed:
            total = total + (change * totals.upper).sum(-1)
            continue
        point, low, high = totals.entries(value)
        points.append(point)
        normals.append(change * _ROOT)
        bounds[0].append(low)
        bounds[1].append(high)
    if len(points) == 1:
        lower, upper = bounds[0][0], bounds[1][0]
    else:
        lower, upper = (
            torch.cat([(torch.full_like(points[0], absent) if t is None else t).expand(len(x), -1) for t in parts], -1)
            for parts, absent in zip(bounds, (-torch.inf, torch.inf), strict=True)
        )
    step = search(torch.cat(points, -1), torch.cat(normals, -1), lower, upper, total)
    return torch.where(step.isfinite() & (step > 0), step, 0.0)
