"""The smooth, increasing maps of numbers onto intervals: sigmoid, softplus, identity."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from optlayers.parametric.range import filled


def softplus(x: Tensor) -> Tensor:
    """Return ``log(1 + exp(x))``."""
    return -logsigmoid(-x)


def softplus_inverse(y: Tensor) -> Tensor:
    """Return `x` with ``softplus(x) = y``, for positive `y`."""
    return y + torch.log(-torch.expm1(-y))


def into_bounds(x: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Map numbers into ``(lower, upper)``; bounds may be None or infinite, and differ from entry to entry.

    ``lower + (upper - lower) sigmoid(x)`` between two bounds, ``lower + softplus(x)`` above one,
    ``upper - softplus(-x)`` below one.
    """
    low, has_low, high, has_high = finite_bounds(x, lower, upper)
    one = torch.where(has_low, low + softplus(x), torch.where(has_high, high - softplus(-x), x))
    return torch.where(has_low & has_high, low + (high - low) * torch.sigmoid(x), one)


def out_of_bounds(y: Tensor, lower: Tensor | None, upper: Tensor | None, margin: float) -> Tensor:
    """Undo `into_bounds`, for numbers that are first moved `margin` away from the bounds (of the interval's length)."""
    low, has_low, high, has_high = finite_bounds(y, lower, upper)
    above, below = (softplus_inverse(gap.clamp_min(margin)) for gap in (y - low, high - y))
    width = high - low
    share = torch.where(width > 0, (y - low) / torch.where(width > 0, width, 1.0), 0.5).clamp(margin, 1 - margin)
    one = torch.where(has_low, above, torch.where(has_high, -below, y))
    return torch.where(has_low & has_high, torch.logit(share), one)


def finite_bounds(like: Tensor, lower: Tensor | None, upper: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return each bound with zeros where it is infinite, and where it is finite."""
    low, high = filled(lower, -torch.inf, like), filled(upper, torch.inf, like)
    has_low, has_high = low.isfinite(), high.isfinite()
    return torch.where(has_low, low, 0.0), has_low, torch.where(has_high, high, 0.0), has_high
