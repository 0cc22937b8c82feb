"""Bounds on the sum of the largest entries: top-k sums, conditional value-at-risk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.constants import is_traced
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block
from optlayers.recognition.epigraphs import Cuts, read_budget, read_cuts, scaled
from optlayers.sets.base import ClosedFormSet, register
from optlayers.sets.box import may_need_derivative
from optlayers.sets.largest_search import thresholds

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
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        n = block.size
        if block.cones or block.auxiliary != n + 1 or len(block.rows) != n + 1:
            return None
        budget = read_budget(block)
        cuts = None if budget is None else read_cuts(block, budget.others, 2)
        if budget is None or cuts is None or not (budget.slopes.is_zero and budget.weights.is_constant):
            return None
        slope, weights = cuts.slope, budget.weights.constant
        threshold = _threshold(block, cuts)
        if threshold is None or not slope.is_constant or not np.array_equal(np.sort(cuts.entry), np.arange(n)):
            return None
        excess = np.delete(weights, threshold)
        size = abs(slope.constant[0])
        if max(np.ptp(excess) / excess[0], np.ptp(slope.constant) / size) > _TOLERANCE or size == 0:
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
            "total": scaled(budget.level, factor),
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
    def examples() -> Iterable[Mapping[str, Any]]:
        center = np.array([0.5, -1.0, 0.0, 2.0, 0.3])
        yield {"size": (6,), "count": 2, "total": np.array(0.5), "fixed": ("count",)}
        yield {"size": (5,), "count": 3, "total": np.array(-1.0), "center": center, "fixed": ("count",)}
        yield {"size": (2, 2), "count": 1, "total": np.array(0.3), "fixed": ("count",)}
        yield {"size": (3,), "count": 2, "total": np.array(0.3), "sign": -1.0, "fixed": ("count", "sign")}
        yield {"size": (5,), "count": 4, "total": np.array(0.0), "center": center, "sign": -1.0, "fixed": ("count", "sign")}


def _threshold(block: Block, cuts: Cuts) -> int | None:
    """Return the auxiliary entry that all cuts share, if the others, one a cut, are only bounded by zero from below."""
    shared = np.intersect1d(cuts.auxiliary[0], cuts.auxiliary[-1])
    if len(shared) != 1 and block.size > 1:
        return None
    lower = block.lower
    if not isinstance(lower, Affine) or not lower.is_constant:
        return None
    threshold = np.flatnonzero(np.isneginf(lower.constant[block.size :]))
    if len(threshold) != 1 or not np.isneginf(lower.constant[: block.size]).all():
        return None
    own = cuts.auxiliary != threshold[0]
    each = np.array_equal(np.sort(cuts.auxiliary[own]), np.delete(np.arange(block.auxiliary), threshold))
    zero = not np.delete(lower.constant[block.size :], threshold).any()
    return int(threshold[0]) if zero and each and (own.sum(1) == 1).all() else None
