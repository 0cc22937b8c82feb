"""Sections of boxes whose rows do not fit on chip: what the passes over parts of rows do; see `section_passes`."""

import triton
import triton.language as tl

from optlayers.kernels.gpu.rows import clamp, load, load_data, store, strictly_inside, tile_indices
from optlayers.kernels.gpu.section_data import slope_of, weighted
from optlayers.kernels.gpu.section_search import breakpoints

# the numbers of a row: the multiplier, its remainder, its bracket, the total; whether it is searched for, and where
TAU, REST, LEFT, RIGHT, TOTAL, GOING, FROM, TO = (tl.constexpr(k) for k in range(8))
# the numbers of a part: sums over the entries that are not listed, the listed ones' count, the sums on the whole part
VALUE, SLOPE, SIZE, COUNT, PRODUCT, FIRST, LAST = (tl.constexpr(k) for k in range(7))


@triton.jit
def contribution(x, a, least, most, tau, rest, inside, ACC: tl.constexpr):
    """Return ``normal * y`` at a multiplier, and which entries are free."""
    moved = x - (tau if a is None else tau * a)
    y = clamp(moved - (rest if a is None else rest * a), least, most)
    return weighted(y, a, inside), strictly_inside(y, least, most, inside)


@triton.jit
def at(x, a, least, most, tau):
    """Return the point of the box at a multiplier."""
    return clamp(x - (tau if a is None else tau * a), least, most)


@triton.jit
def sift(
    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows,
    upper, upper_stride, upper_step, upper_rows, state, parts, listed, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr,
    UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr, LISTED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum over the entries that meet no bound within the bracket, list the others; and sum what `_settle` needs."""
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
    x = tl.abs(x) if ABSOLUTE else x
    left = tl.load(state + row * 8 + FROM).to(ACC)[:, None]
    right = tl.load(state + row * 8 + TO).to(ACC)[:, None]
    value, free = contribution(x, a, least, most, left, 0.0, inside, ACC)
    same = free & strictly_inside(at(x, a, least, most, right), least, most, inside)
    if least is not None:
        same = same | ((at(x, a, least, most, left) <= least) & (at(x, a, least, most, right) <= least))
    if most is not None:
        same = same | ((at(x, a, least, most, left) >= most) & (at(x, a, least, most, right) >= most))
    listing = inside & (same == 0)
    value = tl.where(listing, 0.0, value)
    across = tl.cdiv(n, WIDTH)
    here, apart = parts + row * across + part, rows.to(tl.int64) * across
    tl.store(here + apart * VALUE, tl.sum(value, 1).to(tl.float64))
    tl.store(here + apart * SLOPE, slope_of(free & same, a, ACC).to(tl.float64))
    tl.store(here + apart * SIZE, tl.sum(tl.abs(value), 1).to(tl.float64))
    tl.store(here + apart * COUNT, tl.sum(listing.to(tl.int32), 1).to(tl.float64))
    tl.store(here + apart * PRODUCT, tl.sum(weighted(clamp(x, least, most), a, inside), 1).to(tl.float64))
    first, last = breakpoints(x, a, least, most, inside)
    tl.store(here + apart * FIRST, first.to(tl.float64))
    tl.store(here + apart * LAST, last.to(tl.float64))
    position = tl.cumsum(listing.to(tl.int32), 1) - 1
    slot = listed + (row * across + part)[:, None] * (WIDTH // LISTED) + position
    tl.store(slot, column[None, :] + row[:, None].to(tl.int32) * 0, mask=listing & (position < WIDTH // LISTED))


@triton.jit
def evaluate(
    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows,
    upper, upper_stride, upper_step, upper_rows, state, parts, listed, sums, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr,
    UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr, LISTED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum ``normal * y``, its slope and its size at the multiplier, over the list where it serves, or all entries."""
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    number = state + row * 8
    if tl.max(tl.load(number + GOING), 0) > 0:
        across = tl.cdiv(n, WIDTH)
        here, apart = row * across + part, rows.to(tl.int64) * across
        tau, rest, left = tl.load(number + TAU), tl.load(number + REST), tl.load(number + FROM)
        count = tl.load(parts + here + apart * COUNT)
        sifted = (tau >= left) & (tau <= tl.load(number + TO)) & (count <= WIDTH // LISTED)
        value, slope, size = tl.zeros((1,), tl.float64), tl.zeros((1,), tl.float64), tl.zeros((1,), tl.float64)
        if tl.max(sifted.to(tl.int32), 0) > 0:
            slope = tl.load(parts + here + apart * SLOPE)
            value = tl.load(parts + here + apart * VALUE) - ((tau - left) + rest) * slope
            size = tl.load(parts + here + apart * SIZE)
            for start in range(0, tl.max(count, 0).to(tl.int32), WIDTH // LISTED // 4):
                place_in_list = start + tl.arange(0, WIDTH // LISTED // 4)
                slot = listed + here[:, None] * (WIDTH // LISTED) + place_in_list[None, :]
                picked = tl.load(slot, mask=place_in_list[None, :] < count[:, None], other=n)
                picked = tl.reshape(picked, (WIDTH // LISTED // 4,))
                more, steeper, larger = sum_of(
                    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride,
                    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, row, picked, rows, n, tau,
                    rest, ALIGN, NORMAL_WIDE, LOWER_WIDE, UPPER_WIDE, ABSOLUTE, ACC,
                )  # fmt: skip
                value, slope, size = value + more, slope + steeper, size + larger
        else:
            value, slope, size = sum_of(
                v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step,
                lower_rows, upper, upper_stride, upper_step, upper_rows, row, column, rows, n, tau, rest, ALIGN,
                NORMAL_WIDE, LOWER_WIDE, UPPER_WIDE, ABSOLUTE, ACC,
            )  # fmt: skip
        tl.store(sums + here, value)
        tl.store(sums + here + apart, slope)
        tl.store(sums + here + 2 * apart, size)


@triton.jit
def sum_of(
    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows,
    upper, upper_stride, upper_step, upper_rows, row, column, rows, n, tau, rest, ALIGN: tl.constexpr,
    NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr, UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Return the sums of ``normal * y``, its slope and its size over some columns, ``(1,)``."""
    inside = column[None, :] < n
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
    x = tl.abs(x) if ABSOLUTE else x
    value, free = contribution(x, a, least, most, tau.to(ACC)[:, None], rest.to(ACC)[:, None], inside, ACC)
    slope = slope_of(free, a, ACC).to(tl.float64)
    return tl.sum(value, 1).to(tl.float64), slope, tl.sum(tl.abs(value), 1).to(tl.float64)


@triton.jit
def write(
    v, v_stride, v_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride,
    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, state, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, NORMAL_WIDE: tl.constexpr, LOWER_WIDE: tl.constexpr,
    UPPER_WIDE: tl.constexpr, ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Clamp the points, less their multiples of the normal."""
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    point = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, True, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, NORMAL_WIDE, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, LOWER_WIDE, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, UPPER_WIDE, ACC)
    x = tl.abs(point) if ABSOLUTE else point
    tau = tl.load(state + row * 8 + TAU).to(ACC)[:, None]
    rest = tl.load(state + row * 8 + REST).to(ACC)[:, None]
    moved = x - (tau if a is None else tau * a)
    answer = clamp(moved - (rest if a is None else rest * a), least, most)
    if ABSOLUTE:
        answer = tl.where(point < 0, -answer, answer)
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)
