"""The dual of the projection onto a transport polytope.

With a multiplier for each total, ``Y = clamp(V - a 1' - 1 b', lower, upper)``, and the gradient of the dual function is
by how much the sums of `Y` exceed the totals. It is piecewise linear; its generalised Jacobian is that of a bipartite
graph, whose edges are the entries strictly between their bounds.

A total is one more entry of its row or column, minus the sum, so that all sums are zero. Its distance from a center
costs next to nothing: its weight is 1 / SLOPE. The proximal point method moves the center until that is the total
itself, whose multiplier is zero then where it is between its bounds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.sets.search.section_search import free_mask, search

_ROOT = 2.0**10  # its square is the slope of a total in its multiplier
_EMPTY = 1e-9  # relative excess of a total over its reach
_ROUNDING, _RAY = 1e-10, 1e-7  # of directions; and the slope, relative to the totals, that proves a polytope empty

Bounds = tuple[Tensor, Tensor]


class Sums(NamedTuple):
    """What multipliers lead to: entries, those within the bounds, and the sums of rows and columns, the gradient."""

    x: Tensor
    y: Tensor
    rows: Tensor
    columns: Tensor

    @property
    def missed(self) -> Tensor:
        """The largest excess of each sample."""
        return torch.maximum(self.rows.abs().amax(-1), self.columns.abs().amax(-1))

    def along(self, da: Tensor, db: Tensor) -> Tensor:
        """Return the slope of the dual function along a direction."""
        return (self.rows * da).sum(-1) + (self.columns * db).sum(-1)


@dataclass(frozen=True, eq=False)
class Dual:
    """Points and polytopes of some samples, ``(samples or 1, m + 1, n + 1)``: the last row and column are the totals.

    All entries are divided by `root`, the inverse root of their weights. The size of the totals is ``(samples or 1,)``.
    """

    v: Tensor
    lower: Tensor
    upper: Tensor
    root: Tensor
    size: Tensor

    @staticmethod
    def of(v: Tensor, lower: Tensor, upper: Tensor, rows: Bounds, columns: Bounds) -> Dual:
        """Return the dual for matrices ``(samples, m, n)`` and bounds ``(samples or 1, m)`` on their sums."""
        rows, columns = _balanced(rows, columns)
        nearest = (low.clamp_min(0.0).minimum(high) for low, high in (rows, columns))
        root = torch.ones_like(v[0])
        root = _framed(root[None], *(torch.full_like(line[None], _ROOT) for line in (root[:, 0], root[0])))[0]
        size = torch.stack([torch.where(t.isfinite(), t.abs(), 0.0).amax(-1).expand(len(v)) for t in (*rows, *columns)])
        return Dual(
            _framed(v, *(-t / _ROOT for t in nearest)),
            _framed(lower, -rows[1] / _ROOT, -columns[1] / _ROOT),
            _framed(upper, -rows[0] / _ROOT, -columns[0] / _ROOT),
            root,
            size.amax(0),
        )

    @cached_property
    def mT(self) -> Dual:  # noqa: N802
        v, lower, upper, root = (t.mT.contiguous() for t in (self.v, self.lower, self.upper, self.root))
        return Dual(v, lower, upper, root, self.size)

    def __getitem__(self, index: Tensor) -> Dual:
        lower, upper = (t if len(t) == 1 else t[index] for t in (self.lower, self.upper))
        return Dual(self.v[index], lower, upper, self.root, self.size[index])

    def divided(self, scale: Tensor) -> Dual:
        """Return the dual of the points divided by a scale, ``(samples,)``; the totals keep their centers."""
        return self.at_center(self.v / scale[:, None, None], self.v)

    def at_center(self, v: Tensor, totals: Tensor) -> Dual:
        """Return the dual of other points, and other centers of the totals."""
        return dataclasses.replace(self, v=torch.where(self.root == _ROOT, totals, v))

    def free(self, y: Tensor) -> Tensor:
        """Return the weights of entries strictly between their bounds, else 0."""
        return free_mask(y, self.lower, self.upper) * self.root.square()

    def sums(self, a: Tensor, b: Tensor) -> Sums:
        """Return what multipliers lead to."""
        x = self.v - self.root * _outer(a, b)
        y = torch.clamp(x, self.lower, self.upper)
        entries = self.root * y
        return Sums(x, y, entries.sum(-1)[:, :-1], entries.sum(-2)[:, :-1])

    def out_of_reach(self) -> Tensor:
        """Whether some row's or column's total cannot be had from its entries: the set of the sample is empty."""
        result = torch.zeros_like(self.size, dtype=torch.bool)
        for bound, sign in ((self.root * self.lower, 1.0), (self.root * self.upper, -1.0)):
            for dim in (-1, -2):
                beyond = sign * bound.sum(dim) > _EMPTY * bound.abs().sum(dim)
                result = result | beyond[:, :-1].any(-1)
        return result

    def best_row_multipliers(self, b: Tensor) -> Tensor:
        """Maximise over the multipliers of the rows, those of the columns fixed: one box section for each row."""
        x = (self.v - self.root * pad(b, (0, 1)).unsqueeze(-2))[:, :-1]
        return search(x, self.root[0], self.lower[:, :-1], self.upper[:, :-1], torch.zeros_like(x[..., 0]))

    def is_ray(self, da: Tensor, db: Tensor) -> Tensor:
        """Whether the dual function increases along a direction for ever: a certificate that the polytope is empty."""
        change, size = _outer(da, db), torch.maximum(da.abs().amax(-1), db.abs().amax(-1))
        rounding, normal = (_ROUNDING * size)[:, None, None], self.root * change
        gain = torch.where(change > rounding, normal * self.lower, 0.0)
        gain = torch.where(change < -rounding, normal * self.upper, gain)
        return gain.sum((-2, -1)) > _RAY * size * self.size

    def line_search(self, x: Tensor, da: Tensor, db: Tensor) -> Tensor:
        """Return the best step along a direction, ``(samples, 1)``."""
        v, normal, lower, upper = (t.flatten(1) for t in (x, self.root * _outer(da, db), self.lower, self.upper))
        step = search(v, normal, lower, upper, torch.zeros_like(self.size)).unsqueeze(-1)
        return torch.where(step.isfinite() & (step > 0), step, 0.0)


def _balanced(rows: Bounds, columns: Bounds) -> tuple[Bounds, Bounds]:
    """Return totals whose sums agree to rounding, or where not all are fixed, what was given."""
    if not all(bool((low == high).all()) for low, high in (rows, columns)):
        return rows, columns
    gap = (rows[0].sum(-1, keepdim=True) - columns[0].sum(-1, keepdim=True)) / 2
    row, column = rows[0] - gap / rows[0].shape[-1], columns[0] + gap / columns[0].shape[-1]
    return (row, row), (column, column)


def _framed(grid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Append a column for the rows, and a row for the columns, whose common entry is zero."""
    samples = max(len(grid), len(rows), len(columns))
    grid, rows, columns = (t.expand(samples, *t.shape[1:]) for t in (grid, rows, pad(columns, (0, 1))))
    return torch.cat([torch.cat([grid, rows.unsqueeze(-1)], -1), columns.unsqueeze(-2)], -2)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the sums of multipliers; the last row and column have none."""
    return pad(a, (0, 1)).unsqueeze(-1) + pad(b, (0, 1)).unsqueeze(-2)
