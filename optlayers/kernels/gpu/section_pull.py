"""The derivative of sections of boxes and of L1 balls, a symmetric linear map, applied to gradients."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import accumulator, arguments, launch, tile
from optlayers.kernels.gpu.rows import load, load_data, load_number, rounded, store, strictly_inside, tile_indices


def pull(
    gradient: Tensor,
    y: Tensor,
    tight: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    absolute: bool = False,
) -> Tensor:
    """Return the gradient of the point: where entries of `y` lie strictly between their bounds, that of `y`.

    On rows whose total is active, less its component along the normal of these entries. If `absolute`, as in
    `l1_ball.pull`. Long rows are read twice: for the mean of the gradient along the normal, and to subtract it.
    """
    out, cut = torch.empty_like(gradient), tile(gradient, y, normal, lower, upper)
    told = arguments(cut, {"gradient": gradient, "y": y}, normal=normal, lower=lower, upper=upper)
    told |= {"ABSOLUTE": absolute, "ACC": accumulator(gradient)[1]}
    share = None
    if cut.across > 1:
        sums = torch.empty(2, len(y), cut.across, dtype=torch.float64, device=y.device)
        launch(_sum, cut.programs, cut.warps, **told, sums=sums)
        along, square = sums.sum(-1)
        share = torch.where(square > 0, along / square, 0.0)
    points = {"gradient": gradient, "y": y, "out": out}
    told |= arguments(cut, points, normal=normal, lower=lower, upper=upper)
    launch(_pull, cut.programs, cut.warps, **told, tight=tight, tight_stride=tight.stride(0), share=share)
    return out


@triton.jit
def _load(
    gradient, gradient_stride, gradient_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows,
    lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, row, column, rows, n,
    ALIGN: tl.constexpr, NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr, UPPER_WIDE: tl.constexpr,
    ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return the gradient, which entries are free, and the normal there, zero elsewhere."""
    inside = column[None, :] < n
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    x = load(y, y_stride, y_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    if ABSOLUTE:
        free = inside & ((x > 0) | (x < 0))
        sign = tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(ACC)
        if a is None:
            a = sign
        else:
            free = free | (inside & (a == 0) & (x == x))
            a = a * sign
    else:
        low = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
        high = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
        free = strictly_inside(x, rounded(low, y), rounded(high, y), inside)
        if a is None:
            a = tl.full((1, 1), 1.0, ACC)
    return g, free, tl.where(free, a, 0.0)


@triton.jit
def _sum(
    gradient, gradient_stride, gradient_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows,
    lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, sums, rows, units,
    ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr,
    UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write a part's sums of normal times gradient and of squared normal over the free entries."""
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    g, _, a = _load(
        gradient, gradient_stride, gradient_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows,
        lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, row, column, rows, n,
        ALIGN, NORMAL_WIDE, LOWER_WIDE, UPPER_WIDE, ABSOLUTE, ACC,
    )  # fmt: skip
    across = tl.cdiv(n, WIDTH)
    target = sums + row * across + part
    tl.store(target, tl.sum(a * g, 1).to(tl.float64), mask=row < rows)
    tl.store(target + rows.to(tl.int64) * across, tl.sum(a * a, 1).to(tl.float64), mask=row < rows)


@triton.jit
def _pull(
    gradient, gradient_stride, gradient_step, y, y_stride, y_step, out, out_stride, out_step, normal, normal_stride,
    normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows,
    tight, tight_stride, share, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr, UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Subtract the share of the normal on rows whose total is active; it is given, or summed here."""
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    g, free, a = _load(
        gradient, gradient_stride, gradient_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows,
        lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, row, column, rows, n,
        ALIGN, NORMAL_WIDE, LOWER_WIDE, UPPER_WIDE, ABSOLUTE, ACC,
    )  # fmt: skip
    if share is None:
        square = tl.sum(a * a, 1)
        along = tl.sum(a * g, 1) / tl.where(square > 0, square, 1.0)
    else:
        along = load_number(share, 1, row, rows, ACC)
    active = load_number(tight, tight_stride, row, rows, tl.int1)
    along = tl.where(active, along, 0.0)
    if ABSOLUTE:
        free = free | (active[:, None] == 0)
    store(out, out_stride, out_step, row, column, rows, n, tl.where(free, g - a * along[:, None], 0.0), ALIGN)
