"""Merges of neighbouring nondecreasing segments, and averages over their blocks: on chip, and of pairs of long ones."""

import triton
import triton.language as tl

from optlayers.kernels.gpu.newton import BISECTION_PERIOD, epsilon
from optlayers.kernels.gpu.rows import load, load_data, store

MOST_STEPS = tl.constexpr(100)


@triton.jit
def merged(x, w, first, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr, ACC: tl.constexpr):
    """Return nondecreasing rows ``(HEIGHT, WIDTH)``, and the first entry of each entry's block."""
    for level in tl.static_range(LEVELS):
        x = tl.reshape(x, (HEIGHT * WIDTH // (2 << level), 2 << level))
        first = tl.reshape(first, (HEIGHT * WIDTH // (2 << level), 2 << level))
        right = tl.arange(0, 2 << level)[None, :] >= (1 << level)
        if w is not None:
            w = tl.reshape(tl.broadcast_to(w, (HEIGHT, WIDTH)), (HEIGHT * WIDTH // (2 << level), 2 << level))
        most = tl.max(tl.where(right, -float("inf"), x), 1)
        least = tl.min(tl.where(right, x, float("inf")), 1)
        meet = (most >= least) & (least < float("inf"))
        pool = level_between(x, w, right, least, most, meet, ACC)[:, None]
        fitted = tl.where(right, tl.where(x < pool, pool, x), tl.where(x > pool, pool, x))
        x = tl.where(meet[:, None], fitted, x)
        pooled = meet[:, None] & (x == pool)
        start = tl.min(tl.where(pooled, first, 2147483647), 1)
        first = tl.where(pooled, start[:, None], first)
        if w is not None:
            w = tl.reshape(w, (HEIGHT, WIDTH))
    return tl.reshape(x, (HEIGHT, WIDTH)), tl.reshape(first, (HEIGHT, WIDTH))


@triton.jit
def level_between(x, w, right, least, most, meet, ACC: tl.constexpr):
    """Return the mean of the left entries above it and the right entries below it, for segments ``(count, size)``."""
    pool = most / 2 + least / 2
    scale = tl.maximum(tl.abs(most), tl.abs(least))
    going = meet & (pool == pool)
    step = 0
    while (tl.max(going.to(tl.int32), 0) > 0) & (step < MOST_STEPS):
        step += 1
        mass, excess = pull_at(x, w, right, pool[:, None], ACC)
        pool, least, most, going = next_level(pool, least, most, going, mass, excess, scale, step, ACC)
    return pool


@triton.jit
def pull_at(x, w, right, pool, ACC: tl.constexpr):
    """Return the weight of what is pooled at a level, and its weighted sum above the level, over the last dimension."""
    pooled = tl.where(right, x < pool, x > pool)
    if w is None:
        mass = tl.sum(pooled.to(ACC), 1)
        excess = tl.sum(tl.where(pooled, x - pool, 0.0), 1)
    else:
        mass = tl.sum(tl.where(pooled, w, 0.0), 1)
        excess = tl.sum(tl.where(pooled, (x - pool) * w, 0.0), 1)
    return mass, excess


@triton.jit
def next_level(pool, least, most, going, mass, excess, scale, step, ACC: tl.constexpr):
    """Take a Newton step within the bracket, or halve it; the last step moves to the mean of what is pooled."""
    least = tl.where(excess >= 0, pool, least)
    most = tl.where(excess <= 0, pool, most)
    move = tl.where(mass > 0, excess / tl.where(mass > 0, mass, 1.0), 0.0)
    newton = pool + move
    halve = (newton < least) | (newton > most) | (step % BISECTION_PERIOD == 0)
    middle = least / 2 + most / 2
    stays = (tl.abs(move) <= epsilon(ACC) * scale) | (least >= most) | (excess != excess) | (halve & (middle == pool))
    pool = tl.where(going, tl.where(halve & (stays == 0), middle, newton), pool)
    return pool, least, most, going & (stays == 0)


@triton.jit
def averaged(x, w, first, column, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr, ACC: tl.constexpr):
    """Return the weighted means of rows ``(HEIGHT, WIDTH)`` over their blocks."""
    column = tl.broadcast_to(column[None, :], (HEIGHT, WIDTH))
    for level in tl.static_range(LEVELS):
        x = tl.reshape(x, (HEIGHT * WIDTH // (2 << level), 2 << level))
        first = tl.reshape(first, (HEIGHT * WIDTH // (2 << level), 2 << level))
        column = tl.reshape(column, (HEIGHT * WIDTH // (2 << level), 2 << level))
        at_border = tl.arange(0, 2 << level)[None, :] == (1 << level)
        start = tl.max(tl.where(at_border, first, -1), 1)
        crosses = start < tl.max(tl.where(at_border, column, -1), 1)
        block = crosses[:, None] & (first == start[:, None])
        if w is None:
            mass = tl.sum(block.to(ACC), 1)
            total = tl.sum(tl.where(block, x, 0.0), 1)
        else:
            w = tl.reshape(tl.broadcast_to(w, (HEIGHT, WIDTH)), (HEIGHT * WIDTH // (2 << level), 2 << level))
            mass = tl.sum(tl.where(block, w, 0.0), 1)
            total = tl.sum(tl.where(block, x * w, 0.0), 1)
            w = tl.reshape(w, (HEIGHT, WIDTH))
        x = tl.where(block, (total / tl.where(mass > 0, mass, 1.0))[:, None], x)
    return tl.reshape(x, (HEIGHT, WIDTH))


@triton.jit
def merge_pair(
    x, x_stride, x_step, starts, starts_stride, starts_step, weight, weight_stride, weight_step, weight_rows, rows,
    units, half, pairs, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Merge two segments of `half` entries in place, in chunks; what lies between their inner ends is read.

    Segments are NaN as a whole or not at all.
    """
    n = units * ALIGN
    row = (tl.program_id(0) // pairs).to(tl.int64)
    border = (tl.program_id(0) % pairs) * 2 * half + half
    if border < n:
        values = x + row * x_stride * ALIGN
        most, least = tl.load(values + (border - 1)), tl.load(values + border)
        if (most != most) | (least != least):
            for start in range(border - half, border + half, WIDTH):
                column = start + tl.arange(0, WIDTH)
                tl.store(values + column, float("nan"), mask=column < n)
        if most >= least:
            begin = first_beyond(values, border - half, border, least, False)
            end = first_beyond(values, border, tl.minimum(border + half, n), most, True)
            here = row + tl.arange(0, 1)
            pool = most / 2 + least / 2
            scale = tl.maximum(tl.abs(most), tl.abs(least))
            going = pool == pool
            step = 0
            while going & (step < MOST_STEPS):
                step += 1
                mass, excess = tl.zeros((1,), ACC), tl.zeros((1,), ACC)
                for start in range(begin, end, WIDTH):
                    column = start + tl.arange(0, WIDTH)
                    entries = load(x, x_stride, x_step, here, column, rows, end, pool, ALIGN, ACC)
                    w = load_data(weight, weight_stride, weight_step, here, column, weight_rows, end, 0.0, ALIGN, ACC)
                    more, higher = pull_at(entries, w, (column >= border)[None, :], pool, ACC)
                    mass, excess = mass + more, excess + higher
                pool, least, most, going = next_level(
                    pool, least, most, going, tl.sum(mass, 0), tl.sum(excess, 0), scale, step, ACC
                )
            pooled_from = first_beyond(values, begin, border, pool, False)
            here_starts = starts + row * starts_stride * ALIGN
            block = tl.load(here_starts + pooled_from, mask=pooled_from < border, other=border).to(tl.int32)
            for start in range(begin, end, WIDTH):
                column = start + tl.arange(0, WIDTH)
                right = (column >= border)[None, :]
                entries = load(x, x_stride, x_step, here, column, rows, end, float("inf"), ALIGN, ACC)
                first = load(starts, starts_stride, starts_step, here, column, rows, end, 0, ALIGN, tl.int32)
                fitted = tl.where(
                    right, tl.where(entries < pool, pool, entries), tl.where(entries > pool, pool, entries)
                )
                store(x, x_stride, x_step, here, column, rows, end, fitted, ALIGN)
                first = tl.where(fitted == pool, block, first)
                store(starts, starts_stride, starts_step, here, column, rows, end, first, ALIGN)


@triton.jit
def average_pair(
    x, x_stride, x_step, starts, starts_stride, starts_step, weight, weight_stride, weight_step, weight_rows, rows,
    units, half, pairs, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Average, in place and in chunks, over the part of the block at the border of two segments that lies in them."""
    n = units * ALIGN
    row = (tl.program_id(0) // pairs).to(tl.int64)
    border = (tl.program_id(0) % pairs) * 2 * half + half
    if border < n:
        firsts = starts + row * starts_stride * ALIGN
        block = tl.load(firsts + border).to(tl.int32)
        if block < border:
            begin = tl.maximum(block, border - half)
            end = first_beyond(firsts, border, tl.minimum(border + half, n), block, True)
            here = row + tl.arange(0, 1)
            mass, total = tl.zeros((1,), ACC), tl.zeros((1,), ACC)
            for start in range(begin, end, WIDTH):
                column = start + tl.arange(0, WIDTH)
                entries = load(x, x_stride, x_step, here, column, rows, end, 0.0, ALIGN, ACC)
                w = load_data(weight, weight_stride, weight_step, here, column, weight_rows, end, 0.0, ALIGN, ACC)
                given = (column < end)[None, :]
                w = tl.where(given, 1.0, 0.0).to(ACC) if w is None else tl.where(given, w, 0.0)
                mass, total = mass + tl.sum(w, 1), total + tl.sum(entries * w, 1)
            mean = (total / mass)[:, None] + tl.zeros((1, WIDTH), ACC)
            for start in range(begin, end, WIDTH):
                store(x, x_stride, x_step, here, start + tl.arange(0, WIDTH), rows, end, mean, ALIGN)


@triton.jit
def first_beyond(values, begin, end, bound, STRICTLY: tl.constexpr):
    """Return where a nondecreasing stretch begins to be above a bound, or, unless strictly, on it; else its end."""
    while begin < end:
        middle = (begin + end) // 2
        value = tl.load(values + middle)
        beyond = value > bound if STRICTLY else value >= bound
        begin, end = tl.where(beyond, begin, middle + 1), tl.where(beyond, middle, end)
    return begin
