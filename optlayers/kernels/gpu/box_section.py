"""Sections of boxes, ``{y : lower <= y <= upper, normal @ y in total}``, and, with absolute values, L1 balls.

Rows that fit on chip are read once and written once. The derivative is a symmetric linear map, applied to gradients.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import arguments, launch, numbers, tile
from optlayers.kernels.gpu.rows import (
    clamp,
    load,
    load_data,
    load_number,
    rounded,
    store,
    strictly_inside,
    tile_indices,
)
from optlayers.kernels.gpu.section_data import bounded_total, weighted
from optlayers.kernels.gpu.section_passes import in_passes
from optlayers.kernels.gpu.section_search import on_section, on_simplex
from optlayers.parametric.range import Range


def project(
    v: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    total: Range[Tensor],
    absolute: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the section, and on which rows the total is active.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    normal, lower, upper : Tensor, shape (rows or a divisor, n), or None (ones, no bound, no bound)
    total : Range of Tensor, shape (rows or a divisor,)
    absolute : bool
        Whether ``|v|`` is projected, and gets back the signs of `v`.

    Returns
    -------
    y : Tensor, shape (rows, n)
    active : Tensor, shape (rows,), of bool
    """
    y, active = torch.empty_like(v), torch.empty(len(v), dtype=torch.bool, device=v.device)
    cut = tile(v, normal, lower, upper)
    told = arguments(cut, {"v": v, "y": y}, normal=normal, lower=lower, upper=upper)
    told |= numbers(low=total.lower, high=total.upper)
    told |= {"active": active, "EQUALITY": total.is_fixed, "ABSOLUTE": absolute}
    if cut.across == 1:
        launch(_project, cut.programs, cut.warps, **told)
    else:
        in_passes(cut, told)
    return y, active


def pull(
    gradient: Tensor,
    y: Tensor,
    active: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    absolute: bool = False,
) -> Tensor:
    """Return the gradient of the point: where entries of `y` lie strictly between their bounds, that of `y`.

    On rows whose total is active, less its component along the normal of these entries. Long rows are read twice: for
    that component, and to subtract it.
    """
    out, cut = torch.empty_like(gradient), tile(gradient, y, normal, lower, upper)
    points = {"gradient": gradient, "y": y, "out": out}
    told = arguments(cut, points, normal=normal, lower=lower, upper=upper)
    told |= {"active": active, "active_stride": active.stride(0), "ABSOLUTE": absolute}
    share = None
    if cut.across > 1:
        sums = torch.empty(2, len(y), cut.across, dtype=torch.float64, device=y.device)
        launch(_pull, cut.programs, cut.warps, **told, share=None, sums=sums)
        along, square = sums.sum(-1)
        share = torch.where(square > 0, along / square, 0.0)
    launch(_pull, cut.programs, cut.warps, **told, share=share, sums=None)
    return out


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride,
    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, low, low_stride, low_rows, high, high_stride,
    high_rows, active, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    EQUALITY: tl.constexpr, ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    point = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    x = tl.abs(point) if ABSOLUTE else point
    answer = x
    if EQUALITY:
        total, is_active = load_number(low, low_stride, row, low_rows, ACC), tl.full((HEIGHT,), 1, tl.int1)
    else:
        answer = clamp(x, least, most)
        product = tl.sum(weighted(answer, a, inside), 1)
        total, is_active = bounded_total(
            product, low, low_stride, low_rows, high, high_stride, high_rows, row, rows, ACC
        )
    if a is None and most is None and least is not None:
        nearest = on_simplex(x, least, total, is_active, inside, n, ACC)
    else:
        nearest = on_section(x, a, least, most, total, is_active, inside, column, n, WIDTH, ACC)
    answer = nearest if EQUALITY else tl.where(is_active[:, None], nearest, answer)
    if ABSOLUTE:
        answer = tl.where(point < 0, -answer, answer)
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)
    tl.store(active + row, is_active, mask=row < rows)


@triton.jit
def _pull(
    gradient, gradient_stride, gradient_step, y, y_stride, y_step, out, out_stride, out_step, normal, normal_stride,
    normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows,
    active, active_stride, share, sums, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Subtract the share of the normal on rows whose total is active; it is given, or summed here.

    Where sums are asked for, write instead those of normal times gradient and of squared normal over the free entries.
    """
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    x = load(y, y_stride, y_step, row, column, rows, n, 0.0, ALIGN, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
    if ABSOLUTE:
        free = inside & ((x > 0) | (x < 0))
        sign = tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(ACC)
        if a is None:
            a = sign
        else:
            free = free | (inside & (a == 0) & (x == x))
            a = a * sign
    else:
        low = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
        high = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
        free = strictly_inside(x, rounded(low, y), rounded(high, y), inside)
        if a is None:
            a = tl.full((1, 1), 1.0, ACC)
    a = tl.where(free, a, 0.0)
    along, square = tl.sum(a * g, 1), tl.sum(a * a, 1)
    if sums is not None:
        across = tl.cdiv(n, WIDTH)
        sum_of_part = sums + row * across + part
        tl.store(sum_of_part, along.to(tl.float64), mask=row < rows)
        tl.store(sum_of_part + across.to(tl.int64) * rows, square.to(tl.float64), mask=row < rows)
    else:
        mean = along / tl.where(square > 0, square, 1.0)
        along = mean if share is None else load_number(share, 1, row, rows, ACC)
        is_active = load_number(active, active_stride, row, rows, tl.int1)
        along = tl.where(is_active, along, 0.0)
        if ABSOLUTE:
            free = free | (is_active[:, None] == 0)
        store(out, out_stride, out_step, row, column, rows, n, tl.where(free, g - a * along[:, None], 0.0), ALIGN)
