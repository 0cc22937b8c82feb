"""Sections of boxes on chip: the multiplier of the total by Newton's method on rows that a program holds.

Where ``tau`` solves ``normal @ clamp(x - tau * normal, lower, upper) = total``, that clamp is the projection.
"""

import triton
import triton.language as tl

from optlayers.kernels.gpu.newton import epsilon, next_step
from optlayers.kernels.gpu.rows import clamp, strictly_inside
from optlayers.kernels.gpu.section_data import shifted, slope_of, weighted

MOST_STEPS = tl.constexpr(200)


@triton.jit
def on_simplex(x, lower, total, active, inside, n, ACC: tl.constexpr):
    """Return the projection onto ``{y >= lower, sum(y) = total}``.

    In ``u = x - lower``, less its largest entry, ``excess(tau) = sum(max(u - tau, 0)) - room`` is convex and
    decreasing, so that Newton's method from the left stays there (Michelot, "A finite algorithm for finding the
    projection of a point onto the canonical simplex of R^n", 1986). It has arrived when the number of free entries,
    which never grows, stays. Each step divides the excess times that number by 4 at least: there are few, at most 60.
    Entries without a bound have ``u = x``, and are always free.
    """
    bounded = lower > -float("inf")
    floor = tl.where(bounded, 0.0, -float("inf"))
    lower = tl.where(bounded, lower, 0.0)
    u = x - lower
    room = total - (lower * n if lower.shape[1] == 1 else tl.where(inside, lower, 0.0)).sum(1)
    top = tl.max(tl.where(inside & bounded, u, -float("inf")), 1)
    top = tl.where(top > -float("inf"), top, 0.0)
    u = tl.where(inside, u - top[:, None], -float("inf"))
    tau = (tl.sum(tl.where(inside, u, 0.0), 1) - room) / n
    all_bounded = tl.min(floor, 1) == 0
    tau = tl.where((tau < -room) & all_bounded, -room, tau)
    going = active & (tau == tau)
    cut = floor
    if floor.shape[1] == 1:  # without a bound, the first guess is exact
        going = going & all_bounded
        cut = 0.0
    correction = room * 0.0
    last = room * 0.0
    step = 0
    while (tl.max(going.to(tl.int32), 0) > 0) & (step < MOST_STEPS):
        step += 1
        gap = u - tau[:, None]
        count = tl.sum(tl.where(gap > cut, 1.0, 0.0).to(ACC), 1)
        move = (tl.sum(tl.maximum(gap, cut), 1) - room) / tl.where(count > 0, count, 1.0)
        correction = tl.where(going & (count > 0), move, correction)
        going = going & (count != last) & (tau + move > tau)
        tau = tl.where(going, tau + move, tau)
        last = count
    gap = u - tau[:, None]
    return lower + tl.where(gap <= floor, 0.0, clamp(gap - correction[:, None], floor, None))


@triton.jit
def on_section(x, normal, lower, upper, total, active, inside, column, n, WIDTH: tl.constexpr, ACC: tl.constexpr):
    """Return the projection onto ``{lower <= y <= upper, normal @ y = total}``.

    After the search, one more Newton step with the free entries fixed; where none is free and the total is missed by
    rounding, the entry that meets its bound first is freed.
    """
    tau = multiplier(x, normal, lower, upper, total, active, inside, n, ACC)[:, None]
    beyond = shifted(x, normal, tau)
    y = clamp(beyond, lower, upper)
    beyond -= y
    free = strictly_inside(y, lower, upper, inside)
    slope = slope_of(free, normal, ACC)
    excess = tl.sum(weighted(y, normal, inside), 1) - total
    square = tl.full((1, 1), 1.0, ACC) if normal is None else normal * normal
    vertex = active & (slope <= 0) & (excess != 0)
    if tl.max(vertex.to(tl.int32), 0) > 0:
        able = inside & (square > 0)
        time = tl.where(able, beyond * beyond / tl.where(able, square, 1.0), float("inf"))
        first = tl.min(tl.where(able & (time == tl.min(time, 1)[:, None]), column[None, :], WIDTH), 1)
        free = free | (vertex[:, None] & (column[None, :] == first[:, None]))
        slope = slope_of(free, normal, ACC)
    step = (excess / tl.where(slope > 0, slope, 1.0))[:, None]
    return clamp(tl.where(free & (slope > 0)[:, None], shifted(y, normal, step), y), lower, upper)


@triton.jit
def multiplier(x, normal, lower, upper, total, active, inside, n, ACC: tl.constexpr):
    """Return the multiplier, ``(HEIGHT,)``.

    Cominetti, Mascarenhas and Silva, "A Newton's method for the continuous quadratic knapsack problem", 2014.
    """
    EPS = epsilon(ACC)
    first, last = breakpoints(x, normal, lower, upper, inside)
    if normal is None:
        tau = (tl.sum(tl.where(inside, x, 0.0), 1) - total) / n
    else:
        square = slope_of(inside, normal, ACC)
        tau = (tl.sum(weighted(x, normal, inside), 1) - total) / tl.where(square > 0, square, 1.0)
    tau = clamp(tau, first, last)
    left, right = total * 0.0 - float("inf"), total * 0.0 + float("inf")
    going = active & (tau == tau)
    step = 0
    while (tl.max(going.to(tl.int32), 0) > 0) & (step < MOST_STEPS):
        step += 1
        y = clamp(shifted(x, normal, tau[:, None]), lower, upper)
        product = weighted(y, normal, inside)
        excess = tl.sum(product, 1) - total
        rounding = EPS * (tl.sum(tl.abs(product), 1) + tl.abs(total))
        slope = slope_of(strictly_inside(y, lower, upper, inside), normal, ACC)
        move, middle, halve, stays, left, right = next_step(
            tau, excess, slope, rounding, EPS * tl.abs(tau), left, right, first, last, step
        )
        going = going & (stays == 0)
        tau = tl.where(going, tl.where(halve, middle, tau + move), tau)
    return tau


@triton.jit
def breakpoints(x, normal, lower, upper, inside):
    """Return multipliers before the first and after the last at which an entry meets a bound, ``(HEIGHT,)`` each."""
    first, last = None, None
    if lower is not None:
        first, last = spread(x - lower, normal, inside)
    if upper is not None:
        least, most = spread(x - upper, normal, inside)
        first = least if first is None else tl.minimum(first, least)
        last = most if last is None else tl.maximum(last, most)
    met = first < float("inf")
    first, last = tl.where(met, first, 0.0), tl.where(met, last, 0.0)
    margin = tl.where(last > first, last - first, tl.abs(first))
    margin = tl.where(margin > 0, margin, 1.0)
    return first - margin, last + margin


@triton.jit
def spread(gap, normal, inside):
    """Return the smallest and the largest finite ``gap / normal``, plus and minus infinity where there is none."""
    time = gap if normal is None else gap / normal
    finite = inside & (tl.abs(time) < float("inf"))
    least = tl.min(tl.where(finite, time, float("inf")), 1)
    return least, tl.max(tl.where(finite, time, -float("inf")), 1)
