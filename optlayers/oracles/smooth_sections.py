"""Smooth maps onto sections of boxes: softmax onto simplexes and knapsacks, sigmoids with one shift onto capped ones.

With ``z = normal * y`` the total is a plain sum, and the bounds are those of `y`, scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.oracles.smooth_bounds import into_bounds, out_of_bounds
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map
from optlayers.parametric.range import Range, filled
from optlayers.sets.box_section import BoxSection

_STEPS = 60


class _Section(SmoothMap):
    """What the maps share: bounds and totals of the scaled entries, infinite where there are none.

    Where all entries are bounded above only, they are mirrored: ``z = -normal * y``.
    """

    def __init__(self, bound: BoxSection) -> None:
        super().__init__(bound)
        like = next(side for side in (bound.lower, bound.upper) if side is not None)
        normal = filled(bound.normal, 1.0, like)
        ends = [normal * end for end in _ends(bound, like)]
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        mirrored = lower.isinf().all(-1, keepdim=True)
        flipped = mirrored.squeeze(-1)
        least, most = _ends(bound.total, like[..., 0])
        self.normal = torch.where(mirrored, -normal, normal)
        self.lower, self.upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
        self.total_lower, self.total_upper = torch.where(flipped, -most, least), torch.where(flipped, -least, most)
        self.is_fixed = bound.total.is_fixed
        self.least = self.lower.sum(-1)


def _ends(bounds: BoxSection | Range[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    return filled(bounds.lower, -torch.inf, like), filled(bounds.upper, torch.inf, like)


@register_smooth_map(BoxSection)
class SmoothSimplex(_Section):
    """``lower + (total - sum(lower)) softmax(x)``, for entries that are bounded on one side only.

    A total that is not fixed is ``logsumexp(x)`` mapped into its bounds: for the knapsack ``y >= 0, sum(y) <= 1`` it is
    ``exp(x) / (1 + sum(exp(x)))``.
    """

    def __init__(self, bound: BoxSection) -> None:
        super().__init__(bound)
        self.is_bijective = not self.is_fixed

    @classmethod
    def serves(cls, bound: BoxSection) -> bool:
        section = cls(bound)
        return bool((section.lower.isfinite() & section.upper.isposinf() & (section.normal != 0)).all())

    def forward(self, raw: Tensor) -> Tensor:
        total = self.total_lower
        if not self.is_fixed:
            total = into_bounds(raw.logsumexp(-1), self._total_lower, self.total_upper)
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
        return shares + out_of_bounds(total, self._total_lower, self.total_upper, margin).unsqueeze(-1)

    @property
    def _total_lower(self) -> Tensor:
        return torch.maximum(self.least, self.total_lower)


@register_smooth_map(BoxSection)
class SmoothCappedSimplex(_Section):
    """``lower + (upper - lower) sigmoid(x + t)`` with the shift `t` that makes the total what it is fixed to.

    `t` is found without derivatives, by Newton's method within a bracket; two more of its steps give it first and
    second derivatives.
    """

    @classmethod
    def serves(cls, bound: BoxSection) -> bool:
        section = cls(bound)
        inside = section.lower.isfinite() & section.upper.isfinite() & (section.normal != 0)
        return section.is_fixed and bool(inside.all())

    def forward(self, raw: Tensor) -> Tensor:
        width = self.upper - self.lower
        budget = (self.total_lower - self.least).unsqueeze(-1)
        shift = _find_shift(raw.detach(), width.detach(), budget.detach())
        for _ in range(2):
            excess, slope = _excess(raw, width, budget, shift)
            shift = shift - excess / slope.clamp_min(torch.finfo(raw.dtype).tiny)
        return (self.lower + width * torch.sigmoid(raw + shift)) / self.normal

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return out_of_bounds(y * self.normal, self.lower, self.upper, margin)


def _excess(x: Tensor, width: Tensor, budget: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much ``sum(width sigmoid(x + shift))`` is more than the budget, and its slope in the shift."""
    share = torch.sigmoid(x + shift)
    slope = (width * share * (1 - share)).sum(-1, keepdim=True)
    return (width * share).sum(-1, keepdim=True) - budget, slope


def _find_shift(x: Tensor, width: Tensor, budget: Tensor) -> Tensor:
    """Return the root in `shift` of `_excess`, which increases; it lies where all sigmoids are the budget's share."""
    eps = torch.finfo(x.dtype).eps
    share = (budget / width.sum(-1, keepdim=True)).clamp(eps, 1 - eps)
    low = torch.logit(share) - x.amax(-1, keepdim=True)
    high = torch.logit(share) - x.amin(-1, keepdim=True)
    shift = (low + high) / 2
    for _ in range(_STEPS):
        excess, slope = _excess(x, width, budget, shift)
        low, high = torch.where(excess < 0, shift, low), torch.where(excess > 0, shift, high)
        newton = shift - excess / slope.clamp_min(torch.finfo(x.dtype).tiny)
        moved = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        settled = (moved - shift).abs() <= 4 * eps * (1 + shift.abs())
        shift = torch.where(excess == 0, shift, moved)
        if not is_traced() and bool((settled | (excess == 0)).all()):
            break
    return shift
