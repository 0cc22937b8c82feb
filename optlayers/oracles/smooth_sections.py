"""Smooth maps onto sections of boxes: softmax onto simplexes and knapsacks, sigmoids with one shift onto capped ones.

With ``z = normal * y`` the total is a plain sum, and the bounds are those of `y`, scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.oracles.smooth_bounds import into_bounds, out_of_bounds
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map
from optlayers.parametric.range import Range
from optlayers.sets.box_section import BoxSection

_STEPS = 60


class _Section(SmoothMap):
    """What the maps share: bounds and totals of the scaled entries, infinite where there are none.

    Where all entries are bounded above only, they are mirrored: ``z = -normal * y``.
    """

    def __init__(self, own: BoxSection) -> None:
        super().__init__(own)
        like = next(bound for bound in (own.lower, own.upper) if bound is not None)
        normal = torch.ones_like(like) if own.normal is None else own.normal
        one = -torch.inf * normal.abs().clamp_min(1.0) if own.lower is None else own.lower
        other = torch.full_like(like, torch.inf) if own.upper is None else own.upper
        low, high = torch.minimum(normal * one, normal * other), torch.maximum(normal * one, normal * other)
        mirrored = low.isinf().all(-1, keepdim=True)
        self.normal = torch.where(mirrored, -normal, normal)
        self.lower, self.upper = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
        most = like.new_full((), torch.inf)
        first = -most if own.total.lower is None else own.total.lower
        last = most if own.total.upper is None else own.total.upper
        flipped = mirrored.squeeze(-1)
        self.total = Range(torch.where(flipped, -last, first), torch.where(flipped, -first, last), own.total.is_fixed)
        self.least = self.lower.sum(-1)


@register_smooth_map(BoxSection)
class SmoothSimplex(_Section):
    """``lower + (total - sum(lower)) softmax(x)``, for entries that are bounded on one side only.

    A total that is not fixed is ``logsumexp(x)`` mapped into its bounds: for the knapsack ``y >= 0, sum(y) <= 1`` it is
    ``exp(x) / (1 + sum(exp(x)))``.
    """

    @property
    def is_bijective(self) -> bool:
        return not self.total.is_fixed

    @classmethod
    def serves(cls, own: BoxSection) -> bool:
        return bool((cls(own).lower.isfinite() & cls(own).upper.isposinf()).all())

    def forward(self, raw: Tensor) -> Tensor:
        if self.total.is_fixed:
            total = self.total.value
        else:
            total = into_bounds(raw.logsumexp(-1), self._total_lower, self.total.upper)
        budget = (total - self.least).unsqueeze(-1)
        return (self.lower + budget * torch.softmax(raw, -1)) / self.normal

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        parts = y * self.normal - self.lower
        budget = parts.sum(-1, keepdim=True)
        shares = torch.where(budget > 0, parts / torch.where(budget > 0, budget, 1.0), 1 / y.shape[-1])
        shares = shares.clamp_min(margin).log()
        shares = shares - shares.logsumexp(-1, keepdim=True)
        if self.total.is_fixed:
            return shares
        total = budget.squeeze(-1) + self.least
        return shares + out_of_bounds(total, self._total_lower, self.total.upper, margin).unsqueeze(-1)

    @property
    def _total_lower(self) -> Tensor:
        assert self.total.lower is not None
        return torch.maximum(self.least, self.total.lower)


@register_smooth_map(BoxSection)
class SmoothCappedSimplex(_Section):
    """``lower + (upper - lower) sigmoid(x + t)`` with the shift `t` that makes the total what it is fixed to.

    `t` is found without derivatives, by Newton's method within a bracket; two more of its steps give it first and
    second derivatives.
    """

    @classmethod
    def serves(cls, own: BoxSection) -> bool:
        section = cls(own)
        return section.total.is_fixed and bool((section.lower.isfinite() & section.upper.isfinite()).all())

    def forward(self, raw: Tensor) -> Tensor:
        width = self.upper - self.lower
        budget = (self.total.value - self.least).unsqueeze(-1)
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
        following = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        settled = (following - shift).abs() <= 4 * eps * (1 + shift.abs())
        shift = torch.where(excess == 0, shift, following)
        if not is_traced() and bool((settled | (excess == 0)).all()):
            break
    return shift
