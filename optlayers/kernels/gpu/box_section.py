"""Sections of boxes, ``{y : lower <= y <= upper, normal @ y in total}``; rows that fit on chip are read once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import accumulator, arguments, launch, numbers, tile
from optlayers.kernels.gpu.rows import clamp, load, load_data, load_number, store, tile_indices
from optlayers.kernels.gpu.section_data import bounded_total, weighted
from optlayers.kernels.gpu.section_passes import in_passes
from optlayers.kernels.gpu.section_pull import pull as pull
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
    """Return the nearest points, and on which rows the total is active; if `absolute`, of ``|v|``, signed as `v`.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    normal, lower, upper : Tensor, shape (rows or a divisor, n), or None (ones, no bound, no bound)
    total : Range of Tensor, shape (rows or a divisor,)
    absolute : bool

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor, shape (rows,), of bool
    """
    rows = len(v)
    y, tight = torch.empty_like(v), torch.empty(rows, dtype=torch.bool, device=v.device)
    cut = tile(v, normal, lower, upper)
    told = arguments(cut, {"v": v, "y": y}, normal=normal, lower=lower, upper=upper)
    told |= numbers(low=total.lower, high=total.upper)
    told |= {"tight": tight, "EQUALITY": total.is_fixed, "ABSOLUTE": absolute, "ACC": accumulator(v)[1]}
    if cut.across == 1:
        launch(_project, cut.programs, cut.warps, **told)
    else:
        in_passes(cut, told)
    return y, tight


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride,
    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, low, low_stride, low_rows, high, high_stride,
    high_rows, tight, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr, UPPER_WIDE: tl.constexpr, EQUALITY: tl.constexpr,
    ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    point = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
    x = tl.abs(point) if ABSOLUTE else point
    answer = x
    if EQUALITY:
        total, active = load_number(low, low_stride, row, low_rows, ACC), tl.full((HEIGHT,), 1, tl.int1)
    else:
        answer = clamp(x, least, most)
        product = tl.sum(weighted(answer, a, inside), 1)
        total, active = bounded_total(product, low, low_stride, low_rows, high, high_stride, high_rows, row, rows, ACC)
    if a is None and most is None and least is not None:
        projected = on_simplex(x, least, total, active, inside, n, ACC)
    else:
        projected = on_section(x, a, least, most, total, active, inside, column, n, WIDTH, ACC)
    answer = projected if EQUALITY else tl.where(active[:, None], projected, answer)
    if ABSOLUTE:
        answer = tl.where(point < 0, -answer, answer)
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)
    tl.store(tight + row, active, mask=row < rows)
