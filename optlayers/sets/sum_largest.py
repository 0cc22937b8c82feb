"""Bounds on the sum of the largest entries: top-k sums, conditional value-at-risk."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.parametric.sparse import is_permutation
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Vectors
from optlayers.recognition.epigraphs import read_budget, read_cuts
from optlayers.sets.base import ClosedFormSet, Examples, register
from optlayers.sets.search.largest_search import thresholds

_TOLERANCE = 1e-12


@register
@dataclass(frozen=True, eq=False)
class SumLargest(ClosedFormSet):
    """``{y : sum of the k largest entries of sign * (y - center) <= total}``.

    For `k` that is not whole, the sum takes the fraction that is left of the next largest entry; so
    ``CVaR_beta(y) <= c`` is such a set, with ``k = (1 - beta) n`` and ``total = k c``. One block of entries moves down
    by one number, and the entries next to it become equal (Roth and Cui, "On O(n) algorithms for projection onto the
    top-k-sum sets", 2023).

    Attributes
    ----------
    count : Tensor, shape (*batch,)
        The number k, from 1 to n.
    center : Tensor, shape (*batch, n), or None
        None for zero.
    sign : Tensor, shape (*batch,), or None
        None for 1; with -1 it bounds the sum of the smallest entries from below.
    total : Tensor, shape (*batch,)
    """

    name = "sum of largest entries"
    count: Tensor
    center: Tensor | None
    sign: Tensor | None
    total: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, count: Any, total: Any, center: Any = 0.0, sign: float = 1.0
    ) -> list[cp.Constraint]:
        return [cp.sum_largest(cp.vec(sign * (x - center), order="C"), count) <= total]

    @classmethod
    def match(cls, block: Block) -> Vectors | None:
        n = block.size
        if block.cones or block.auxiliary != n + 1 or len(block.rows) != n + 1:
            return None
        threshold = _threshold(block)
        if threshold is None:
            return None
        block = _oriented(block, n + threshold)
        budget = read_budget(block)
        cuts = None if budget is None else read_cuts(block, budget.others, 2)
        if budget is None or cuts is None or not (budget.slopes.is_zero and budget.weights.is_constant):
            return None
        slope, weights = cuts.slope, budget.weights.constant
        excesses = np.sort(cuts.auxiliary[cuts.auxiliary != threshold])
        paired = np.array_equal(excesses, np.delete(np.arange(n + 1), threshold)) and is_permutation(cuts.entry, n)
        if not (paired and slope.is_constant and slope.constant.any()):
            return None
        excess = np.delete(weights, threshold)
        size = abs(slope.constant[0])
        if np.ptp(excess) > _TOLERANCE * excess[0] or np.ptp(slope.constant) > _TOLERANCE * size:
            return None
        count = weights[threshold] / excess[0]
        count = np.round(count) if abs(count - np.round(count)) <= 1e-10 * count else count
        if count > n:
            return None
        # below one entry, the fraction of the largest one
        factor = 1 / (excess[0] * size * min(count, 1.0))
        center = cuts.offset[np.argsort(cuts.entry)].scaled(-1 / slope.constant)
        return {
            "count": Affine.of(max(count, 1.0), block.parameters),
            "center": None if center.is_zero else center,
            "sign": None if slope.constant[0] > 0 else Affine.of(-1.0, block.parameters),
            "total": budget.level.scaled(factor),
        }

    def project(self, v: Tensor) -> Tensor:
        """Search for the entries that move and those that become equal, then solve for both numbers with these fixed.

        On the boundary the derivative is that of an outside point.
        """
        u = v if self.center is None else v - self.center
        u = u if self.sign is None else u * self.sign.unsqueeze(-1)
        low, width = (t.unsqueeze(-1) for t in thresholds(u, self.count, self.total))
        if not is_traced() and not any(may_need_derivative(t) for t in (u, self.total)):
            change = torch.sub(u, low).clamp_(torch.zeros_like(width), width)
        else:
            change = self._change(u, low, width)
        return v - (change if self.sign is None else change * self.sign.unsqueeze(-1))

    def _change(self, u: Tensor, low: Tensor, width: Tensor) -> Tensor:
        """Return by how much entries decrease, as a formula in which these are fixed."""
        point = u.detach()
        moves, ties = ((point > low + width).to(u.dtype), ((point >= low) & (point <= low + width)).to(u.dtype))
        base = torch.where(low.isfinite(), low, 0.0)
        w, k = u - base, self.count.unsqueeze(-1)
        p, q = moves.sum(-1, keepdim=True), ties.sum(-1, keepdim=True)
        rest = self.total.unsqueeze(-1) - k * base - (moves * w).sum(-1, keepdim=True)
        tied = (ties * w).sum(-1, keepdim=True)
        determinant = torch.where(q > 0, (k - p).square() + p * q, 1.0)
        level = ((k - p) * rest + p * tied) / determinant
        step = torch.where(q > 0, ((k - p) * tied - q * rest) / determinant, -rest / p.clamp_min(1))
        return moves * step + ties * (w - level)

    @staticmethod
    def examples() -> Examples:
        center = np.array([0.5, -1.0, 0.0, 2.0, 0.3])
        yield {"size": (6,), "count": 2, "total": np.array(0.5), "fixed": ("count",)}
        yield {"size": (5,), "count": 3, "total": np.array(-1.0), "center": center, "fixed": ("count",)}
        yield {"size": (2, 2), "count": 1, "total": np.array(0.3), "fixed": ("count",)}
        smallest = {"sign": -1.0, "fixed": ("count", "sign")}
        yield {"size": (3,), "count": 2, "total": np.array(0.3), **smallest}
        yield {"size": (5,), "count": 4, "total": np.array(0.0), "center": center, **smallest}


def _threshold(block: Block) -> int | None:
    """Return the only auxiliary entry without bounds, if zero is the lower bound of all others and of no more."""
    lower = None if block.lower is None else block.lower.numbers
    if lower is None or not np.isneginf(lower[: block.size]).all():
        return None
    free = np.isneginf(lower[block.size :])
    return int(free.argmax()) if free.sum() == 1 and not lower[block.size :][~free].any() else None


def _oriented(block: Block, entry: int) -> Block:
    """Return the block with that auxiliary entry's negative, where it has another sign than the others beside it."""
    beside = block.rows[0].normal[block.size :].constant
    if (beside >= 0).all() or (beside <= 0).all():
        return block
    signs = np.where(np.arange(block.size + block.auxiliary) == entry, -1.0, 1.0)
    rows = tuple(dataclasses.replace(row, normal=row.normal.scaled(signs)) for row in block.rows)
    return dataclasses.replace(block, rows=rows)
