"""The smooth, increasing maps of numbers onto intervals: sigmoid, softplus, identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


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
    low, has_low = _finite(x, lower)
    high, has_high = _finite(x, upper)
    if has_low is None and has_high is None:
        return x
    if has_high is None:
        return torch.where(has_low, low + softplus(x), x) if has_low is not None else x
    if has_low is None:
        return torch.where(has_high, high - softplus(-x), x)
    one = torch.where(has_low, low + softplus(x), torch.where(has_high, high - softplus(-x), x))
    return torch.where(has_low & has_high, low + (high - low) * torch.sigmoid(x), one)


def out_of_bounds(y: Tensor, lower: Tensor | None, upper: Tensor | None, margin: float) -> Tensor:
    """Undo `into_bounds`, for numbers that are first moved `margin` away from the bounds (of the interval's length)."""
    low, has_low = _finite(y, lower)
    high, has_high = _finite(y, upper)
    result = y
    if has_high is not None:
        result = torch.where(has_high, -softplus_inverse((high - y).clamp_min(margin)), result)
    if has_low is not None:
        result = torch.where(has_low, softplus_inverse((y - low).clamp_min(margin)), result)
    if has_low is not None and has_high is not None:
        width = high - low
        share = torch.where(width > 0, (y - low) / torch.where(width > 0, width, 1.0), 0.5)
        result = torch.where(has_low & has_high, torch.logit(share.clamp(margin, 1 - margin)), result)
    return result


def _finite(like: Tensor, bound: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return a bound with zeros where it is infinite, and where it is finite; None where it is nowhere."""
    if bound is None:
        return like.new_zeros(()), None
    finite = bound.isfinite()
    return torch.where(finite, bound, 0.0), finite
