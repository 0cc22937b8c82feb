"""The nearest points of bounded total variation: ``argmin_y ||y - v||`` subject to ``sum |y[1:] - y[:-1]| <= radius``.

As the multiplier grows from zero, each block of equal entries moves at the speed of its net pull by the neighbours over
its length; blocks that meet stay together (Friedman, Hastie, Höfling and Tibshirani, "Pathwise coordinate
optimization", 2007). So the total variation falls at a known rate until blocks meet, and the path ends where it is the
radius.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library
from torch.nn.functional import pad

from optlayers.autograd.batched_operator import front
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu import is_installed, total_variation
from optlayers.sets.search.pool_adjacent import block_means, settled

_NAME = "optlayers::total_variation"
_LEAST_COMPILED = 1 << 8  # entries that the compiled loop is worth its start for
_FEW_ROWS = 8  # up to which the interpreted loop over rows is faster than the one over entries
_ROUNDING = 1e-14  # meetings at one time, to rounding, are one event


def nearest_of_variation(v: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest points, with all derivatives; points on the boundary take the derivative of the boundary.

    Parameters
    ----------
    v : Tensor, shape (*batch, n)
    radius : Tensor, shape (*batch,)
        Not negative.
    """
    values, starts, sign = torch.ops.optlayers.total_variation(primal(v), primal(radius))
    if not is_traced() and not may_need_derivative(v) and not may_need_derivative(radius):
        return values
    return settled(formula(v, radius, starts, sign), values)


def formula(v: Tensor, radius: Tensor, starts: Tensor, sign: Tensor) -> Tensor:
    """Return the point that is constant on blocks, and whose steps of given signs have the sum of the radius.

    With the signs `s`, the difference matrix `D` and the means `M` over blocks it is the projection of `M v` onto the
    hyperplane ``q @ y = radius``, ``q = M D' s``. Where no sign is given it is `M v`.
    """
    sign = sign.to(v.dtype)
    q = block_means(pad(sign, (1, 0)) - pad(sign, (0, 1)), starts)
    square = q.square().sum(-1, keepdim=True)
    mean = block_means(v, starts)
    excess = (q * mean).sum(-1, keepdim=True) - radius.unsqueeze(-1)
    return mean - q * (excess / torch.where(square > 0, square, 1.0))


def _total_variation(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = torch.broadcast_shapes(v.shape[:-1], radius.shape), v.shape[-1]
    if batch.numel() == 0:
        return _fake_total_variation(v, radius)
    point, bound = v.expand(*batch, n).reshape(-1, n).double(), radius.expand(batch).reshape(-1).double()
    compiled = point.numel() >= _LEAST_COMPILED and is_installed()
    if v.device.type == "cpu" and (compiled or len(point) <= _FEW_ROWS):
        starts, sign = total_variation.search(point, bound, interpreted=not compiled)
    else:
        starts, sign = search_rows(point, bound)
    values = formula(point, bound, starts, sign).to(v.dtype)
    return values.reshape(*batch, n), starts.reshape(*batch, n), sign.reshape(*batch, n - 1)


def search_rows(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each entry's block's first one, and the signs of the steps between blocks, else 0.

    All rows follow their paths at once, one meeting of blocks after the other. Inside the set, each entry is a block of
    its own, and no step has a sign.
    """
    count, n = v.shape
    starts, sign = torch.arange(n, device=v.device).repeat(count, 1), torch.zeros_like(v[:, 1:], dtype=torch.int64)
    open_rows = (v.diff().abs().sum(-1) >= radius).nonzero().squeeze(1)
    mean, row = v[open_rows].flatten(), torch.arange(len(open_rows), device=v.device).repeat_interleave(n)
    mass, first = torch.ones_like(mean), torch.arange(n, device=v.device).repeat(len(open_rows))
    meets = torch.zeros_like(mean, dtype=torch.bool)
    meets[1:] = (mean[1:] == mean[:-1]) & (row[1:] == row[:-1])
    while len(row):
        group = (~meets).cumsum(0) - 1
        empty = mean.new_zeros(int(group[-1]) + 1)
        mass, mean = empty.index_add(0, group, mass), empty.index_add(0, group, mass * mean)
        mean, row, first = mean / mass, row[~meets], first[~meets]
        begins = first == 0
        gap = torch.where(begins, 0.0, mean - mean.roll(1))
        sides = gap.sign()
        push = sides.roll(-1) - sides  # the next row's first block, and after the last one this row's, has sign 0
        rate, size = push / mass, mean.new_zeros(len(open_rows))
        excess, slope = (size.index_add(0, row, t) for t in (gap.abs(), push * rate))
        step = (excess - radius[open_rows]) / torch.where(slope > 0, slope, torch.inf)
        closing = sides * (rate.roll(1) - rate)
        meeting = torch.where(closing > 0, gap.abs() / torch.where(closing > 0, closing, 1.0), torch.inf)
        event = torch.full_like(size, torch.inf).scatter_reduce(0, row, meeting, "amin")
        done = (step < event) | event.isinf()
        over = done[row]
        if bool(over.any()):
            starts[open_rows[done]] = _starts(first[over], n)
            ends = over & ~begins
            sign[open_rows[row[ends]], first[ends] - 1] = sides[ends].long()
        meets = (meeting <= event[row] * (1 + _ROUNDING))[~over]
        mean, mass, first = (mean + rate * event[row])[~over], mass[~over], first[~over]
        row, open_rows = ((~done).cumsum(0) - 1)[row[~over]], open_rows[~done]
    return starts, sign


def _starts(first: Tensor, n: int) -> Tensor:
    """Return, for rows of `n` entries cut into blocks, each entry's block's first one."""
    row = (first == 0).cumsum(0) - 1
    marks = first.new_zeros(int(row[-1]) + 1, n)
    marks[row, first] = first
    return marks.cummax(-1)[0]


def _fake_total_variation(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = torch.broadcast_shapes(v.shape[:-1], radius.shape), v.shape[-1]
    starts, sign = (v.new_empty(*batch, k, dtype=torch.int64) for k in (n, n - 1))
    return v.new_empty(*batch, n), starts, sign


def _map_total_variation(info: Any, dims: tuple[int | None, ...], *tensors: Tensor) -> Any:
    return torch.ops.optlayers.total_variation(*front(dims, tensors, (1, 0))), (0, 0, 0)


library.define(_NAME, "(Tensor v, Tensor radius) -> (Tensor, Tensor, Tensor)")
library.impl(_NAME, "default", _total_variation)
library.register_fake(_NAME, _fake_total_variation)
library.register_vmap(_NAME, _map_total_variation)
