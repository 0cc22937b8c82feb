"""Sections of boxes whose rows do not fit on chip: what the passes over parts of rows do; see `section_passes`."""

import triton
import triton.language as tl

from optlayers.kernels.gpu.rows import clamp, load, load_data, store, strictly_inside, tile_indices
from optlayers.kernels.gpu.section_data import shifted, slope_of, weighted
from optlayers.kernels.gpu.section_search import breakpoints

# the numbers of a row: the multiplier, its remainder, its bracket, the total; whether it is searched for, and where
TAU, REST, LEFT, RIGHT, TOTAL, GOING, FROM, TO = (tl.constexpr(k) for k in range(8))
# the numbers of a part: sums over the entries that are not listed, the listed ones' count, the sums on the whole part
VALUE, SLOPE, SIZE, COUNT, PRODUCT, FIRST, LAST = (tl.constexpr(k) for k in range(7))


@triton.jit
def contribution(x, a, least, most, tau, rest, inside, ACC: tl.constexpr):
    """Return ``normal * y`` at a multiplier, and which entries are free."""
    y = clamp(shifted(shifted(x, a, tau), a, rest), least, most)
    return weighted(y, a, inside), strictly_inside(y, least, most, inside)


@triton.jit
def sift(
    v, v_stride, v_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride, lower_step, lower_rows,
    upper, upper_stride, upper_step, upper_rows, state, parts, listed, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ABSOLUTE: tl.constexpr, LISTED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum over the entries that meet no bound within the bracket, list the others; and sum what `_settle` needs."""
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    inside = column[None, :] < n
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    x = tl.abs(x) if ABSOLUTE else x
    left = tl.load(state + row * 8 + FROM).to(ACC)[:, None]
    right = tl.load(state + row * 8 + TO).to(ACC)[:, None]
    value, free = contribution(x, a, least, most, left, 0.0, inside, ACC)
    one, other = clamp(shifted(x, a, left), least, most), clamp(shifted(x, a, right), least, most)
    same = free & strictly_inside(other, least, most, inside)
    if least is not None:
        same = same | ((one <= least) & (other <= least))
    if most is not None:
        same = same | ((one >= most) & (other >= most))
    listing = inside & (same == 0)
    value = tl.where(listing, 0.0, value)
    across = tl.cdiv(n, WIDTH)
    here, apart = parts + row * across + part, across.to(tl.int64) * rows
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
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ABSOLUTE: tl.constexpr, LISTED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum ``normal * y``, its slope and its size at the multiplier, over the list where it serves, or all entries."""
    n = units * ALIGN
    row, _, part = tile_indices(rows, n, HEIGHT, WIDTH)
    number = state + row * 8
    if tl.max(tl.load(number + GOING), 0) > 0:
        across = tl.cdiv(n, WIDTH)
        here, apart = row * across + part, across.to(tl.int64) * rows
        tau, rest, left = tl.load(number + TAU), tl.load(number + REST), tl.load(number + FROM)
        count = tl.load(parts + here + apart * COUNT)
        sifted = (tau >= left) & (tau <= tl.load(number + TO)) & (count <= WIDTH // LISTED)
        slope = tl.where(sifted, tl.load(parts + here + apart * SLOPE), 0.0)
        value = tl.where(sifted, tl.load(parts + here + apart * VALUE) - ((tau - left) + rest) * slope, 0.0)
        size = tl.where(sifted, tl.load(parts + here + apart * SIZE), 0.0)
        for start in range(0, tl.max(tl.where(sifted, count, WIDTH), 0).to(tl.int32), WIDTH // LISTED):
            position = start + tl.arange(0, WIDTH // LISTED)
            slot = listed + here * (WIDTH // LISTED) + position
            column = tl.load(slot, mask=sifted & (position < count), other=n)
            column = tl.where(sifted, column, part * WIDTH + position)
            inside = column[None, :] < n
            x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
            a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
            least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
            most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
            x = tl.abs(x) if ABSOLUTE else x
            more, free = contribution(x, a, least, most, tau.to(ACC)[:, None], rest.to(ACC)[:, None], inside, ACC)
            value += tl.sum(more, 1).to(tl.float64)
            slope += slope_of(free, a, ACC).to(tl.float64)
            size += tl.sum(tl.abs(more), 1).to(tl.float64)
        tl.store(sums + here, value)
        tl.store(sums + here + apart, slope)
        tl.store(sums + here + 2 * apart, size)


@triton.jit
def write(
    v, v_stride, v_step, y, y_stride, y_step, normal, normal_stride, normal_step, normal_rows, lower, lower_stride,
    lower_step, lower_rows, upper, upper_stride, upper_step, upper_rows, state, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ABSOLUTE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Clamp the points, less their multiples of the normal."""
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    point = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    a = load_data(normal, normal_stride, normal_step, row, column, normal_rows, n, 0.0, ALIGN, ACC)
    least = load_data(lower, lower_stride, lower_step, row, column, lower_rows, n, 0.0, ALIGN, ACC)
    most = load_data(upper, upper_stride, upper_step, row, column, upper_rows, n, 0.0, ALIGN, ACC)
    x = tl.abs(point) if ABSOLUTE else point
    tau = tl.load(state + row * 8 + TAU).to(ACC)[:, None]
    rest = tl.load(state + row * 8 + REST).to(ACC)[:, None]
    answer = clamp(shifted(shifted(x, a, tau), a, rest), least, most)
    if ABSOLUTE:
        answer = tl.where(point < 0, -answer, answer)
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)
