"""Sections of boxes and, with absolute values, L1 balls: rows that fit on chip, read once and written once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import accumulator, arguments, launch, tile
from optlayers.kernels.gpu.rows import clamp, load, load_number, place, store
from optlayers.kernels.gpu.section_search import on_section, on_simplex, weighted


def project(
    v: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    total_lower: Tensor | None,
    total_upper: Tensor | None,
    absolute: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the projection, as in `box_section.project`; if `absolute`, of ``|v|``, with the signs of `v`."""
    rows = len(v)
    y, tight = torch.empty_like(v), torch.empty(rows, dtype=torch.bool, device=v.device)
    cut = tile(v, normal, lower, upper)
    told = arguments(cut, {"v": v, "y": y}, normal=normal, lower=lower, upper=upper)
    equality = total_lower is not None and total_lower is total_upper
    totals = {"low": total_lower, "high": None if equality else total_upper}
    told |= {name: None if t is None else t.expand(rows) for name, t in totals.items()}
    told |= {f"{name}_stride": 0 if t is None else t.expand(rows).stride(0) for name, t in totals.items()}
    told |= {"EQUALITY": equality, "ABSOLUTE": absolute, "ACC": accumulator(v)[1]}
    launch(_project, cut.programs, cut.warps, **told, tight=tight)
    return y, tight


@triton.jit
def bounded_total(product, low, low_stride, high, high_stride, row, rows, ACC: tl.constexpr):
    """Return the total to reach, and whether it is active, given that of the projection onto the box, ``(HEIGHT,)``.

    A total exactly at its bound is active; NaN is.
    """
    total, loose = product, product == product
    if low is not None:
        bound = load_number(low, low_stride, row, rows, ACC)
        total, loose = tl.where(total < bound, bound, total), loose & (product > bound)
    if high is not None:
        bound = load_number(high, high_stride, row, rows, ACC)
        total, loose = tl.where(total > bound, bound, total), loose & (product < bound)
    return total, loose == 0


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, normal, normal_stride, normal_step, lower, lower_stride, lower_step,
    upper, upper_stride, upper_step, low, low_stride, high, high_stride, tight, rows, units,
    ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, NORMAL_WIDE: tl.constexpr,
    LOWER_WIDE: tl.constexpr, UPPER_WIDE: tl.constexpr, EQUALITY: tl.constexpr, ABSOLUTE: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = place(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    point = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load(normal, normal_stride, normal_step, row, column, rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    least = load(lower, lower_stride, lower_step, row, column, rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
    most = load(upper, upper_stride, upper_step, row, column, rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
    x = point
    if ABSOLUTE:
        x = tl.abs(point)
        least = tl.zeros((1, 1), ACC)
    answer = x
    if EQUALITY:
        total, active = load_number(low, low_stride, row, rows, ACC), tl.full((HEIGHT,), 1, tl.int1)
    else:
        answer = clamp(x, least, most)
        product = tl.sum(weighted(answer, a, inside), 1)
        total, active = bounded_total(product, low, low_stride, high, high_stride, row, rows, ACC)
    if a is None and most is None and least is not None:
        found = on_simplex(x, least, total, active, inside, n, ACC)
    else:
        found = on_section(x, a, least, most, total, active, inside, column, n, WIDTH, ACC)
    answer = found if EQUALITY else tl.where(active[:, None], found, answer)
    if ABSOLUTE:
        answer = tl.where(point < 0, -answer, answer)
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)
    tl.store(tight + row, active, mask=row < rows)
