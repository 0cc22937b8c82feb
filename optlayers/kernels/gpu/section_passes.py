"""Sections of boxes whose rows do not fit on chip: a few passes over parts of rows.

A sample of the row gives a bracket that the multiplier is expected in. One pass sums what the entries contribute that
meet no bound within the bracket, and lists the others. Newton steps then read the lists only; where a step leaves the
bracket, or a list is full, they read the parts again: the guess costs time when it fails, never accuracy. A last pass
writes. The multiplier is kept as a sum of two numbers, so that ``v - multiplier`` is exact where `v` is large.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from optlayers.kernels.gpu.launch import Tile, launch
from optlayers.kernels.gpu.newton import epsilon, next_step
from optlayers.kernels.gpu.rows import clamp, load, load_data, strictly_inside
from optlayers.kernels.gpu.section_data import bounded_total, shifted, slope_of, weighted
from optlayers.kernels.gpu.section_parts import (
    FIRST,
    FROM,
    GOING,
    LAST,
    LEFT,
    PRODUCT,
    REST,
    RIGHT,
    TAU,
    TO,
    TOTAL,
    evaluate,
    sift,
    write,
)
from optlayers.kernels.gpu.section_search import multiplier

_SAMPLE = 4096
_LISTED = 4  # at most every so many entries of a part are listed
_STEPS_A_LOOK = 4  # before the host looks whether all rows are done
_MOST_STEPS = 200
_FEW = tl.constexpr(32)
_DEVIATIONS = tl.constexpr(6.0)
_NEVER = tl.constexpr(1e37)


def in_passes(cut: Tile, told: dict[str, Any]) -> None:
    """Project, with the arguments of the kernel for rows that fit on chip."""
    rows, device = cut.rows, told["v"].device
    state = torch.empty(rows, 8, dtype=torch.float64, device=device)
    parts = torch.empty(7, rows, cut.across, dtype=torch.float64, device=device)
    sums = torch.empty(3, rows, cut.across, dtype=torch.float64, device=device)
    listed = torch.empty(rows, cut.across, cut.width // _LISTED, dtype=torch.int32, device=device)
    y = {name: told[name] for name in ("y", "y_stride", "y_step")}
    totals = {name: told[name] for name in told if name.startswith(("low_", "high_")) or name in {"low", "high"}}
    data = {name: value for name, value in told.items() if name not in {"active", "EQUALITY", *y, *totals}}
    row = {"state": state, "rows": rows, "across": cut.across, "ACC": told["ACC"]}
    convex = told["ABSOLUTE"] or (told["normal"] is None and told["upper"] is None)
    launch(_guess, rows, 8, **data | totals | {"HEIGHT": 1, "WIDTH": _SAMPLE}, state=state, CONVEX=convex)
    launch(sift, cut.programs, cut.warps, **data, state=state, parts=parts, listed=listed, LISTED=_LISTED)
    launch(_settle, rows, 4, **row | totals, parts=parts, active=told["active"])
    sifted = {"state": state, "parts": parts, "listed": listed, "LISTED": _LISTED}
    for step in range(1, _MOST_STEPS):
        launch(evaluate, cut.programs, cut.warps, **data | sifted, sums=sums)
        launch(_update, rows, 4, **row, parts=parts, sums=sums, step=step)
        if step % _STEPS_A_LOOK == 0 and not bool(state[:, GOING.value].any()):
            break
    launch(write, cut.programs, cut.warps, **data | y, state=state)


@triton.jit
def _guess(
    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows,
    upper, upper_stride, upper_step, upper_rows, low, low_stride, low_rows, high, high_stride, high_rows, state, rows,
    units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ABSOLUTE: tl.constexpr, CONVEX: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Solve for the multiplier of evenly spaced entries, with their share of the total.

    The bracket is some standard deviations wide. Where few of the entries are free, these mean nothing; where the
    excess is convex, the multiplier of some entries and the whole total is a lower bound.
    """
    n = units * ALIGN
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    column = (tl.arange(0, WIDTH).to(tl.int64) * n // WIDTH).to(tl.int32)
    inside = column[None, :] < n
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    x = tl.abs(x) if ABSOLUTE else x
    share = n.to(ACC) / WIDTH
    product = tl.sum(weighted(clamp(x, least, most), a, inside), 1) * share
    total, active = bounded_total(product, low, low_stride, low_rows, high, high_stride, high_rows, row, rows, ACC)
    tau = multiplier(x, a, least, most, total / share, active, inside, WIDTH, ACC)
    y = clamp(shifted(x, a, tau[:, None]), least, most)
    slope = slope_of(strictly_inside(y, least, most, inside), a, ACC)
    mean = total / n
    variance = tl.sum(weighted(y, a, inside) * weighted(y, a, inside), 1) / WIDTH - mean * mean
    width = tl.sqrt(tl.maximum(variance, 0.0) * WIDTH) * _DEVIATIONS / tl.where(slope > 0, slope, 1.0)
    width += 8 * epsilon(ACC) * tl.abs(tau)
    left, right = tau - width, tau + width
    if CONVEX:
        bound = multiplier(x, a, least, most, total, active, inside, WIDTH, ACC)
        count = tl.sum(strictly_inside(y, least, most, inside).to(tl.int32), 1)
        right = tl.where(count < _FEW, _NEVER, right)
        left = tl.where(count < _FEW, bound, tl.maximum(left, bound))
        tau = tl.maximum(tau, left)
    number = state + row * 8
    tl.store(number + TAU, tau.to(tl.float64))
    tl.store(number + REST, tau.to(tl.float64) * 0.0)
    tl.store(number + FROM, left.to(tl.float64))
    tl.store(number + TO, right.to(tl.float64))


@triton.jit
def _settle(
    parts, low, low_stride, low_rows, high, high_stride, high_rows, state, active, rows, across, ACC: tl.constexpr,
):  # fmt: skip
    """Find which rows have an active total, and the total to reach."""
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    product = _sum_of_parts(parts, PRODUCT, row, rows, across)
    total, is_active = bounded_total(
        product, low, low_stride, low_rows, high, high_stride, high_rows, row, rows, tl.float64
    )
    number = state + row * 8
    tl.store(number + TOTAL, total)
    tl.store(number + GOING, is_active.to(tl.float64))
    tl.store(number + LEFT, total * 0.0 - float("inf"))
    tl.store(number + RIGHT, total * 0.0 + float("inf"))
    tl.store(number + TAU, tl.where(is_active, tl.load(number + TAU), 0.0))
    tl.store(active + row, is_active)


@triton.jit
def _sum_of_parts(parts, which, row, rows, across, WIDTH: tl.constexpr = 1024):
    """Return a number of all parts of a row, ``(1,)``."""
    total = tl.zeros((1, WIDTH), tl.float64)
    for start in range(0, across, WIDTH):
        part = start + tl.arange(0, WIDTH)
        here = parts + (row + rows * which)[:, None] * across + part[None, :]
        total += tl.load(here, mask=(part < across)[None, :], other=0.0)
    return tl.sum(total, 1)


@triton.jit
def _update(state, parts, sums, rows, across, step, ACC: tl.constexpr, WIDTH: tl.constexpr = 1024):
    """Take a Newton step within the bracket, or halve it, as `multiplier` does."""
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    number = state + row * 8
    if tl.max(tl.load(number + GOING), 0) > 0:
        tau, rest, total = tl.load(number + TAU), tl.load(number + REST), tl.load(number + TOTAL)
        excess = _sum_of_parts(sums, 0, row, rows, across) - total
        slope = _sum_of_parts(sums, 1, row, rows, across)
        rounding = epsilon(ACC) * (_sum_of_parts(sums, 2, row, rows, across) + tl.abs(total))
        first = tl.full((1, WIDTH), float("inf"), tl.float64)
        last = -first
        for start in range(0, across, WIDTH):
            part = start + tl.arange(0, WIDTH)
            here = parts + (row + rows * FIRST)[:, None] * across + part[None, :]
            given = (part < across)[None, :]
            first = tl.minimum(first, tl.load(here, mask=given, other=float("inf")))
            here += across.to(tl.int64) * rows * (LAST - FIRST)
            last = tl.maximum(last, tl.load(here, mask=given, other=-float("inf")))
        first, last = tl.min(first, 1), tl.max(last, 1)
        whole, left, right = tau + rest, tl.load(number + LEFT), tl.load(number + RIGHT)
        least_move = epsilon(tl.float64) * tl.abs(whole)
        move, middle, halve, stays, left, right = next_step(
            whole, excess, slope, rounding, least_move, left, right, first, last, step
        )
        base, move = tl.where(halve, middle, tau), tl.where(halve, 0.0, rest + move)
        moved = (base + move).to(ACC).to(tl.float64)
        tl.store(number + TAU, tl.where(excess == excess, moved, excess))
        tl.store(number + REST, (base - moved) + move)
        tl.store(number + LEFT, left)
        tl.store(number + RIGHT, right)
        tl.store(number + GOING, (stays == 0).to(tl.float64))
