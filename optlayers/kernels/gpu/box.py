"""Boxes: one read and one write of the tensor."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import arguments, launch, tile
from optlayers.kernels.gpu.rows import clamp, load, load_data, rounded, store, strictly_inside, tile_indices


def project(v: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """``argmin_{lower <= y <= upper} ||y - v||``, bounds ``(rows or a divisor, n)``; where they cross, the upper."""
    y, cut = torch.empty_like(v), tile(v)
    told = arguments(cut, {"v": v, "y": y}, lower=lower, upper=upper)
    launch(_project, cut.programs, cut.warps, **told)
    return y


def pull(gradient: Tensor, y: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Return the gradient at entries of `y` strictly between their bounds, zero elsewhere."""
    out, cut = torch.empty_like(gradient), tile(gradient)
    told = arguments(cut, {"gradient": gradient, "y": y, "out": out}, lower=lower, upper=upper)
    launch(_pull, cut.programs, cut.warps, **told)
    return out


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, lower, lower_stride, lower_step, lower_rows, upper, upper_stride,
    upper_step, upper_rows, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    low = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    high = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    store(y, y_stride, y_step, row, column, rows, n, clamp(x, low, high), ALIGN)


@triton.jit
def _pull(
    gradient, gradient_stride, gradient_step, y, y_stride, y_step, out, out_stride, out_step, lower, lower_stride,
    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    x = load(y, y_stride, y_step, row, column, rows, n, 0.0, ALIGN, ACC)
    low = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    high = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    free = strictly_inside(x, rounded(low, y), rounded(high, y), column[None, :] < n)
    store(out, out_stride, out_step, row, column, rows, n, tl.where(free, g, 0.0), ALIGN)
