"""Where the sphere is met by ``clamp(s offset, lower, upper)``."""

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import define
from optlayers.autograd.primal import primal
from optlayers.parametric.range import clamp

_MOST_STEPS = 200
_BISECTION_PERIOD = 4  # every so many steps the bracket is halved, so that no data make Newton's method slow


def search_scale(offset: Tensor, lower: Tensor | None, upper: Tensor | None, radius: Tensor) -> Tensor:
    """Return `s` from 0 to 1 with ``||clamp(s offset, lower, upper)|| = radius``, and 1 inside; without derivatives."""
    bounds = (None if bound is None else primal(bound) for bound in (lower, upper))
    return _operator(primal(offset), *bounds, primal(radius))


def _search_scale(offset: Tensor, lower: Tensor | None, upper: Tensor | None, radius: Tensor) -> Tensor:
    """Newton's method in ``s^2``, safeguarded by a bracket: the square of the length is piecewise linear in that.

    It is not decreasing, and each step is exact on the piece that holds the root.
    """
    if offset.shape[-1] == 0 or offset.numel() == 0:
        return torch.ones_like(offset.sum(-1) + radius)
    size = offset.abs().amax(-1, keepdim=True)
    direction = offset / torch.where(size > 0, size, 1.0)
    size = size.squeeze(-1)
    outside = _length(clamp(offset, lower, upper)) > radius
    target, largest, eps = radius.square(), size.square(), torch.finfo(offset.dtype).eps
    square = (target / _length(direction).square().clamp_min(1.0)).minimum(largest)
    left, right = torch.zeros_like(square), largest.expand_as(square)
    for step in range(1, _MOST_STEPS):
        moved = direction * square.sqrt().unsqueeze(-1)
        y = clamp(moved, lower, upper)
        excess = _length(y).square() - target
        slope = _length(torch.where(y == moved, direction, 0.0)).square()
        left, right = torch.where(excess <= 0, square, left), torch.where(excess >= 0, square, right)
        newton = square - torch.where(slope > 0, excess / slope, torch.nan)
        small = (excess.abs() <= 4 * eps * target) | ((newton - square).abs() <= eps * square) | (left >= right)
        if bool((small | ~outside).all()):
            break
        inside = (newton >= left) & (newton <= right) & (step % _BISECTION_PERIOD != 0)
        square = torch.where(small, square, torch.where(inside, newton, left / 2 + right / 2))
    return torch.where(outside, square.sqrt() / torch.where(size > 0, size, 1.0), 1.0)


def _length(y: Tensor) -> Tensor:
    return torch.linalg.vector_norm(y, dim=-1)


_operator = define("ball_scale", {"offset": 1, "lower?": 1, "upper?": 1, "radius": 0}, _search_scale)
