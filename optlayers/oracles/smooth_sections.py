"""Smooth maps onto sections of boxes: softmax onto simplexes and knapsacks, sigmoids with one shift onto capped ones.

With ``z = normal * y`` the total is a plain sum, and the bounds are those of `y`, scaled.
"""

import torch
from torch import Tensor

from optlayers.cones.root_search import find_root
from optlayers.oracles.smooth_bounds import into_bounds, out_of_bounds
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map
from optlayers.parametric.range import filled
from optlayers.sets.box_section import BoxSection


class _Section(SmoothMap):
    """What the maps share: bounds and totals of the scaled entries, infinite where there are none.

    Where all entries are bounded above only, they are mirrored: ``z = -normal * y``.
    """

    def __init__(self, bound: BoxSection) -> None:
        super().__init__(bound)
        normal, low, high = bound.extremes()
        lower, upper = normal * low, normal * high
        least = filled(bound.total.lower, -torch.inf, lower[..., 0])
        most = filled(bound.total.upper, torch.inf, lower[..., 0])
        mirrored = lower.isinf().all(-1, keepdim=True)
        flipped = mirrored.squeeze(-1)
        self.normal = torch.where(mirrored, -normal, normal)
        self.lower, self.upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
        self.total_lower, self.total_upper = torch.where(flipped, -most, least), torch.where(flipped, -least, most)
        self.is_fixed = bound.total.is_fixed
        self.least = self.lower.sum(-1)


@register_smooth_map(BoxSection)
class SmoothSimplex(_Section):
    """``lower + (total - sum(lower)) softmax(x)``, for entries that are bounded on one side only.

    A total that is not fixed is ``logsumexp(x)`` mapped into its bounds: for the knapsack ``y >= 0, sum(y) <= 1`` it is
    ``exp(x) / (1 + sum(exp(x)))``.
    """

    def __init__(self, bound: BoxSection) -> None:
        super().__init__(bound)
        self.is_bijective = not self.is_fixed
        self.total_lower = torch.maximum(self.least, self.total_lower)

    @classmethod
    def serves(cls, bound: BoxSection) -> bool:
        section = cls(bound)
        return bool((section.lower.isfinite() & section.upper.isposinf() & (section.normal != 0)).all())

    def forward(self, raw: Tensor) -> Tensor:
        total = self.total_lower
        if not self.is_fixed:
            total = into_bounds(raw.logsumexp(-1), self.total_lower, self.total_upper)
        budget = (total - self.least).unsqueeze(-1)
        return (self.lower + budget * torch.softmax(raw, -1)) / self.normal

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        parts = y * self.normal - self.lower
        budget = parts.sum(-1, keepdim=True)
        shares = torch.where(budget > 0, parts / torch.where(budget > 0, budget, 1.0), 1 / y.shape[-1])
        shares = shares.clamp_min(margin).log()
        shares = shares - shares.logsumexp(-1, keepdim=True)
        if self.is_fixed:
            return shares
        total = budget.squeeze(-1) + self.least
        return shares + out_of_bounds(total, self.total_lower, self.total_upper, margin).unsqueeze(-1)


@register_smooth_map(BoxSection)
class SmoothCappedSimplex(_Section):
    """``lower + (upper - lower) sigmoid(x + t)`` with the shift `t` that makes the total what it is fixed to.

    The search for `t` is without derivatives; two more of Newton's steps give it first and second ones.
    """

    @classmethod
    def serves(cls, bound: BoxSection) -> bool:
        section = cls(bound)
        inside = section.lower.isfinite() & section.upper.isfinite() & (section.normal != 0)
        return section.is_fixed and bool(inside.all())

    def forward(self, raw: Tensor) -> Tensor:
        width, budget = self.upper - self.lower, self.total_lower - self.least
        shift = _find_shift(raw.detach(), width.detach(), budget.detach())
        for _ in range(2):
            shift = shift - _newton(raw, width, budget, shift)[1]
        return (self.lower + width * torch.sigmoid(raw + shift.unsqueeze(-1))) / self.normal

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return out_of_bounds(y * self.normal, self.lower, self.upper, margin)


def _find_shift(x: Tensor, width: Tensor, budget: Tensor) -> Tensor:
    """Return the root in the shift; it lies where all sigmoids are the budget's share."""
    eps = torch.finfo(x.dtype).eps
    level = torch.logit((budget / width.sum(-1)).clamp(eps, 1 - eps))
    return find_root(lambda shift: _newton(x, width, budget, shift), level - x.amax(-1), level - x.amin(-1))


def _newton(x: Tensor, width: Tensor, budget: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``sum(width sigmoid(x + shift))`` exceeds the budget by, in budgets, and Newton's step."""
    tiny = torch.finfo(x.dtype).tiny
    share = torch.sigmoid(x + shift.unsqueeze(-1))
    excess = (width * share).sum(-1) - budget
    slope = (width * share * (1 - share)).sum(-1)
    return excess / budget.clamp_min(tiny), excess / slope.clamp_min(tiny)
