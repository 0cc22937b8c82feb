"""The multiplier of a box section: the root of ``normal @ clamp(v - tau * normal, lower, upper) = total``."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.sets.box import clamp

_POLISHING_STEPS = 4


@torch.no_grad()
def search(v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    """Return the multiplier, shape ``(*batch,)``; where the root is an interval, a point of it.

    The sum is piecewise linear and decreasing in `tau`. An entry is free between two breakpoints; sorted, with running
    sums of the pieces' coefficients, they give the piece that holds the root. Newton steps from there, on data shifted
    by the multiplier found so far, remove the rounding of the running sums.

    Parameters
    ----------
    v : Tensor, shape (*batch, n)
    normal, lower, upper : Tensor, shape (*batch, n), or None (ones, no bound, no bound)
    total : Tensor, shape (*batch,)
    """
    tau = _sorted_root(v, normal, lower, upper, total)
    for _ in range(_POLISHING_STEPS):
        x = v - (tau.unsqueeze(-1) if normal is None else tau.unsqueeze(-1) * normal)
        tau = tau + _newton_step(x, normal, lower, upper, total)
    return tau


def _newton_step(x: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    free = is_free(x, lower, upper)
    inside = clamp(x, lower, upper)
    if normal is None:
        product, slope = inside.sum(-1), free.sum(-1).to(x.dtype)
    else:
        product, slope = (normal * inside).sum(-1), torch.where(free, normal.square(), 0.0).sum(-1)
    return torch.where(slope > 0, (product - total) / torch.where(slope > 0, slope, 1.0), 0.0)


def is_free(x: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Whether each entry lies strictly between its bounds."""
    free = torch.ones_like(x, dtype=torch.bool)
    if lower is not None:
        free = free & (x > lower)
    if upper is not None:
        free = free & (x < upper)
    return free


def _sorted_root(v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    a = torch.ones_like(v) if normal is None else normal
    null = a == 0
    divisor = torch.where(null, 1.0, a)
    first = torch.full_like(v, -torch.inf) if upper is None else (v - upper) / divisor
    second = torch.full_like(v, torch.inf) if lower is None else (v - lower) / divisor
    enter, leave = (first, second) if normal is None else _order(a, first, second, lower, upper)
    enter, leave = torch.where(null, torch.inf, enter), torch.where(null, torch.inf, leave)
    square, linear = a.square(), a * v
    from_start = enter.isneginf()
    # sum over entries of a * y, as intercept - tau * slope, far to the left
    intercept = torch.where(from_start, linear, _at(enter, linear, square)).sum(-1, keepdim=True)
    slope = torch.where(from_start, square, 0.0).sum(-1, keepdim=True)
    events = [(leave, _at(leave, linear, square) - linear, -square)]
    if upper is not None or normal is not None:
        events.insert(0, (enter, linear - _at(enter, linear, square), square))
    times, jumps, bends = (torch.cat(torch.broadcast_tensors(*parts), -1) for parts in zip(*events, strict=True))
    happens = times.isfinite()
    jumps, bends = torch.where(happens, jumps, 0.0), torch.where(happens, bends, 0.0)
    times, order = times.sort(-1)
    intercepts = intercept + jumps.gather(-1, order).cumsum(-1)
    slopes = slope + bends.gather(-1, order).cumsum(-1)
    happened = times.isfinite()
    value = intercepts - torch.where(happened, times, 0.0) * slopes
    piece = ((value >= total.unsqueeze(-1)) & happened | times.isneginf()).sum(-1, keepdim=True)
    start = torch.cat([torch.full_like(intercept.expand_as(times[..., :1]), -torch.inf), times], -1)
    intercepts = torch.cat([intercept.expand_as(times[..., :1]), intercepts], -1)
    slopes = torch.cat([slope.expand_as(times[..., :1]), slopes], -1)
    last = start.shape[-1] - 1
    left, right = start.gather(-1, piece), start.gather(-1, (piece + 1).clamp_max(last))
    slope, intercept = slopes.gather(-1, piece), intercepts.gather(-1, piece)
    bent = slope > 0
    root = torch.where(bent, (intercept - total.unsqueeze(-1)) / torch.where(bent, slope, 1.0), _middle(left, right))
    root = torch.where(piece < last, torch.minimum(root, right), root)
    return torch.maximum(root, left).squeeze(-1)


def _order(
    a: Tensor, first: Tensor, second: Tensor, lower: Tensor | None, upper: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return when each entry becomes free and when it stops being so; a negative coefficient swaps the bounds."""
    backward = a < 0
    enter = torch.where(backward, second if lower is not None else -second, first)
    leave = torch.where(backward, first if upper is not None else -first, second)
    return enter, leave


def _at(time: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """Return ``a * y`` at the bound that an entry meets at `time`; 0 where there is none."""
    return torch.where(time.isfinite(), linear - torch.where(time.isfinite(), time, 0.0) * square, 0.0)


def _middle(left: Tensor, right: Tensor) -> Tensor:
    middle = torch.where(left.isinf(), right, torch.where(right.isinf(), left, (left + right) / 2))
    return torch.where(middle.isinf(), 0.0, middle)
