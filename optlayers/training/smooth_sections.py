"""Smooth maps onto sections of boxes: softmax onto simplexes and knapsacks, sigmoids with one shift onto capped ones.

With ``z = normal * y`` the total is a plain sum, and the bounds are those of `y`, scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.parametric.constants import is_traced
from optlayers.sets.box_section import BoxSection
from optlayers.training.smooth_bounds import into_bounds, out_of_bounds
from optlayers.training.smooth_maps import SmoothMap, register_smooth_map

_STEPS = 60


class _Section(SmoothMap):
    """What the maps share: the section in the scaled entries `z`."""

    own: BoxSection

    def _normal(self) -> Tensor | float:
        return 1.0 if self.own.normal is None else self.own.normal

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the bounds of the scaled entries, infinite where there are none."""
        like = next(bound for bound in (self.own.lower, self.own.upper) if bound is not None)
        lower = torch.full_like(like, -torch.inf) if self.own.lower is None else self.own.lower
        upper = torch.full_like(like, torch.inf) if self.own.upper is None else self.own.upper
        if self.own.normal is None:
            return lower, upper
        one, other = self.own.normal * lower, self.own.normal * upper
        return torch.minimum(one, other), torch.maximum(one, other)

    @property
    def _is_fixed(self) -> bool:
        return self.own.total_lower is not None and self.own.total_lower is self.own.total_upper

    @classmethod
    def _has_normal(cls, own: BoxSection) -> bool:
        return own.normal is None or bool((own.normal != 0).all())


@register_smooth_map(BoxSection)
class SmoothSimplex(_Section):
    """``lower + (total - sum(lower)) softmax(x)``; a total that is not fixed is ``logsumexp(x)`` mapped into its bounds.

    For entries bounded on one side only; for the knapsack ``y >= 0, sum(y) <= 1`` it is
    ``exp(x) / (1 + sum(exp(x)))``.
    """

    @property
    def is_bijective(self) -> bool:
        return not self._is_fixed

    @classmethod
    def serves(cls, own: BoxSection) -> bool:
        lower, upper = cls(own)._bounds()
        return cls._has_normal(own) and bool((lower.isfinite() & upper.isinf()).all())

    def forward(self, raw: Tensor) -> Tensor:
        lower, _ = self._bounds()
        least = lower.sum(-1)
        if self._is_fixed:
            total = self.own.total_lower
        else:
            total = into_bounds(raw.logsumexp(-1), self._least_total(least), self.own.total_upper)
        return (lower + (total - least).unsqueeze(-1) * torch.softmax(raw, -1)) / self._normal()

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        lower, _ = self._bounds()
        parts = y * self._normal() - lower
        budget = parts.sum(-1, keepdim=True)
        shares = torch.where(budget > 0, parts / torch.where(budget > 0, budget, 1.0), 1 / y.shape[-1])
        shares = shares.clamp_min(margin).log()
        x = shares - shares.logsumexp(-1, keepdim=True)
        if self._is_fixed:
            return x
        least = lower.sum(-1)
        total = (budget.squeeze(-1) + least).unsqueeze(-1)
        bounds = (None if b is None else b.unsqueeze(-1) for b in (self._least_total(least), self.own.total_upper))
        return x + out_of_bounds(total, *bounds, margin)

    def _least_total(self, least: Tensor) -> Tensor:
        return least if self.own.total_lower is None else torch.maximum(least, self.own.total_lower)


@register_smooth_map(BoxSection)
class SmoothCappedSimplex(_Section):
    """``lower + (upper - lower) sigmoid(x + t)`` with the shift `t` that makes the total what it is fixed to.

    `t` is found without derivatives, by Newton's method within a bracket; two more of its steps give it first and
    second derivatives.
    """

    @classmethod
    def serves(cls, own: BoxSection) -> bool:
        fixed = own.total_lower is not None and own.total_lower is own.total_upper
        lower, upper = cls(own)._bounds()
        return fixed and cls._has_normal(own) and bool((lower.isfinite() & upper.isfinite()).all())

    def forward(self, raw: Tensor) -> Tensor:
        lower, upper = self._bounds()
        width = upper - lower
        budget = self._budget(lower)
        shift = _find_shift(raw.detach(), width.detach(), budget.detach())
        for _ in range(2):
            excess, slope = _excess(raw, width, budget, shift)
            shift = shift - excess / slope.clamp_min(torch.finfo(raw.dtype).tiny)
        return (lower + width * torch.sigmoid(raw + shift)) / self._normal()

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return out_of_bounds(y * self._normal(), *self._bounds(), margin)

    def _budget(self, lower: Tensor) -> Tensor:
        assert self.own.total_lower is not None
        return (self.own.total_lower - lower.sum(-1)).unsqueeze(-1)


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
