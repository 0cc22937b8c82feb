"""L1 balls, weighted ones and those that weigh the two directions of an entry differently."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.kernels.fused import rows_of
from optlayers.kernels.operator import define_projection, serves
from optlayers.parametric.range import Range
from optlayers.parametric.sparse import is_permutation
from optlayers.parametric.symbolic import Affine, Data, derived
from optlayers.recognition.bends import Bends, add, read_bends
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.epigraphs import Budget, Cuts, read_budget, read_cuts
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.box_section import BoxSection
from optlayers.sets.search.section_kernels import along

_TOLERANCE = 1e-13


@register
@dataclass(frozen=True, eq=False)
class L1Ball(ClosedFormSet):
    """``{y : sum_i above_i * pos(y_i - center_i) + below_i * neg(y_i - center_i) <= radius}``.

    With one weight for both directions it is ``sum_i weights_i * |y_i - center_i| <= radius``. Entries keep their
    side of the centre, and the distances from it are projected onto a simplex (Duchi, Shalev-Shwartz, Singer and
    Chandra, "Efficient projections onto the l1-ball for learning in high dimensions", 2008).

    Attributes
    ----------
    center : Tensor, shape (*batch, n), or None
        None for zero.
    above, below : Tensor, shape (*batch, n), or None
        Not negative. Without `below` the ball is symmetric; without both, all weights are one.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "L1 ball"
    kernels = "l1_ball"
    center: Tensor | None
    above: Tensor | None
    below: Tensor | None
    radius: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, radius: Any, center: Any = 0.0, weights: Any = 1.0, above: Any = None, below: Any = None
    ) -> list[cp.Constraint]:
        if above is None:
            return [cp.sum(cp.abs(cp.multiply(weights, x - center))) <= radius]
        both = cp.multiply(above, cp.pos(x - center)) + cp.multiply(below, cp.neg(x - center))
        return [cp.sum(both) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        budget = None if block.cones else read_budget(block)
        cuts = None if budget is None else read_cuts(block, budget.others)
        if budget is None or cuts is None:
            return None
        if not cuts.slope.is_constant:
            return _match_parametric_weights(block, budget, cuts)
        bends = read_bends(block, cuts)
        return None if bends is None else _match_bends(block, budget, bends)

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block)
        return cls.name if fields is None or fields["below"] is None else "asymmetric L1 ball"

    def project(self, v: Tensor) -> Tensor:
        """Project the distances from the centre; on the sphere the derivative is that of an outside point."""
        fused = self.fused(v)
        if fused is not None:
            return fused
        offset = self._offset(v)
        weights = self._weights(offset)
        if serves(v, self.center, weights, self.radius):
            y, tight = _compiled(offset, weights, self.radius)
            return y if self.center is None else torch.where(tight.unsqueeze(-1), y + self.center, v)
        size = offset.abs()
        cost = (size if weights is None else weights * size).sum(-1)
        outside = cost >= self.radius
        total = torch.where(outside, self.radius.clamp_min(0.0), cost)
        lower = size.new_zeros(size.shape[-1])
        y = offset.sign() * BoxSection(weights, lower, None, Range.fixed(total)).project(size)
        moved = outside.unsqueeze(-1)
        if weights is not None:
            moved = moved & ((weights > 0) | (offset != 0))
        return torch.where(moved, y if self.center is None else y + self.center, v)

    def fused(self, v: Tensor) -> Tensor | None:
        offset = self._offset(v)
        weights = self._weights(offset)
        rows = rows_of(self.kernels, offset, self.center, weights, numbers=(self.radius,))
        if rows is None:
            return None
        weights_given = rows.vectors[1]
        value, tight = rows.kernels.project(rows.points, weights_given, *rows.numbers)

        def formula(gradient: Tensor, y: Tensor, tight: Tensor) -> Tensor:
            return _pull(gradient, y, tight, weights)

        y = rows.answer(value, formula, (value, tight), (weights_given,))
        if self.center is None:
            return y
        return torch.where(rows.batched(tight).unsqueeze(-1), y + self.center, v)

    def _offset(self, v: Tensor) -> Tensor:
        return v if self.center is None else v - self.center

    def _weights(self, offset: Tensor) -> Tensor | None:
        if self.above is None or self.below is None:
            return self.above
        return torch.where(offset > 0, self.above, self.below)

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]

    @staticmethod
    def examples() -> Examples:
        center = np.array([0.5, -1.0, 0.0, 2.0])
        weights = np.array([1.0, 0.0, 0.5, 3.0])
        yield {"size": (5,), "radius": np.array(1.5)}
        yield {"size": (2, 2), "center": center.reshape(2, 2), "radius": np.array(2.0)}
        yield {"size": (4,), "weights": np.array([1.0, 2.0, 0.5, 3.0]), "radius": np.array(0.7)}
        yield {"size": (4,), "center": center, "weights": 1 + weights, "radius": np.array(0.7), "fixed": ("weights",)}
        one_sided = {"above": 1 + weights, "below": weights, "fixed": ("above", "below")}
        yield {"size": (4,), "center": center, "radius": np.array(1.0), **one_sided}


def _pull(gradient: Tensor, y: Tensor, tight: Tensor, weights: Tensor | None) -> Tensor:
    """Return the derivative at a projection `y` around zero, which is symmetric, times the gradient."""
    moves = y != 0 if weights is None else (y != 0) | (weights == 0)
    normal = y.detach().sign() if weights is None else y.detach().sign() * weights
    return torch.where(moves | ~tight.unsqueeze(-1), gradient - along(gradient, normal, tight), 0.0)


def _project(offset: Tensor, weights: Tensor | None, radius: Tensor) -> tuple[Tensor, Tensor]:
    rows = rows_of(L1Ball.kernels, offset, weights, numbers=(radius,))
    if rows is None:
        cost = (offset.abs() if weights is None else weights * offset.abs()).sum(-1)
        return L1Ball(None, weights, None, radius).project(offset), cost >= radius
    y, tight = rows.kernels.project(rows.points, *rows.vectors, *rows.numbers)
    return rows.batched(y), rows.batched(tight)


_compiled = define_projection("l1_ball", "l1_ball", {"weights?": 1, "radius": 0}, 1, _project, _pull)


def _match_bends(block: Block, budget: Budget, bends: Bends) -> Fields | None:
    entries, first = np.unique(bends.entry, return_index=True)
    if len(entries) < block.size or len(bends.members) < block.auxiliary:
        return None
    center = bends.center[first]
    if not add(bends.center, center[bends.entry].scaled(-1.0)).is_zero:
        return None
    weights, slopes, level = budget.weights, budget.slopes, budget.level
    above, below = (
        add(weights.mapped(sp.csr_array((side, (bends.entry, bends.members)), shape=(block.size, block.auxiliary))), s)
        for side, s in ((bends.above, slopes), (bends.below, slopes.scaled(-1.0)))
    )
    if (above.constant < 0).any() or (below.constant < 0).any():
        return None
    if not (bends.shift.is_zero and slopes.is_zero):
        if not (weights.is_constant and slopes.is_constant):
            return None
        start = bends.shift.mapped(weights.constant[None]) + center.mapped(slopes.constant[None])
        level = level - start.reshaped()
    if not add(above, below.scaled(-1.0)).is_zero:
        return {"center": center, "above": above, "below": below, "radius": level}
    return _symmetric(center, above, level)


def _symmetric(center: Affine, weights: Data, radius: Data) -> Mapping[str, Data | None]:
    centre = None if center.is_zero else center
    numbers = weights.numbers
    if numbers is not None and np.ptp(numbers) <= _TOLERANCE * numbers[0]:
        radius = radius.scaled(1 / float(numbers[0]))
        return {"center": centre, "above": None, "below": None, "radius": radius}
    return {"center": centre, "above": weights, "below": None, "radius": radius}


def _match_parametric_weights(block: Block, budget: Budget, cuts: Cuts) -> Fields | None:
    """Match ``sum_i weights_i * |slope_i * y_i| <= radius`` with parameters in the slopes."""
    auxiliary, order = np.unique(cuts.auxiliary[:, 0], return_index=True)
    n = block.size
    if not (len(cuts.entry) == 2 * n == 2 * block.auxiliary == 2 * len(auxiliary) and block.lower is None):
        return None
    other = np.setdiff1d(np.arange(2 * n), order)
    other = other[np.argsort(cuts.auxiliary[other, 0])]
    entry, slope = cuts.entry[order], cuts.slope[order]
    paired = np.array_equal(cuts.entry[other], entry) and is_permutation(entry, n)
    opposite = add(slope, cuts.slope[other]).is_zero
    if not (paired and opposite and cuts.offset.is_zero and budget.slopes.is_zero and budget.weights.is_constant):
        return None
    ascending = np.argsort(entry)
    factors = budget.weights.constant[auxiliary[ascending]]
    weights = derived(torch.abs, slope[ascending].scaled(factors))
    return _symmetric(Affine.of(np.zeros(n), block.parameters), weights, budget.level)
