"""Rows onto ``{y >= lower, sum(y) in total}``, without sorting, and the derivative.

The root `tau` of ``sum_i max(w_i - tau, 0) = room``, ``w = v - lower``, by Newton's method from the left, where it is
monotone, so that the support only shrinks (Michelot, "A finite algorithm for finding the projection of a point onto
the canonical simplex of R^n", 1986), over the blocks whose largest entry is above `tau` (after Condat, "Fast projection
onto the simplex and the l1 ball", 2016, who filters entries). A first step leads to the left of the root from anywhere:
it starts where the root were if entries were normally distributed. Where the root is so far that its own rounding
counts, the row is moved to its largest entry, which is exact for all entries that may be free, and searched again.

Loops take whole arrays and ranges: a view for each row would cost more than short rows do.
"""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import are_same, moments, shift_of, span, total, width_of
from optlayers.kernels.cpu.compiled import inner, inner_in_order, kernel
from optlayers.kernels.cpu.normal_start import normal_start

_SHORT = 128  # entries of rows that are not worth a guess


@kernel
def project_rows(
    first: int,
    last: int,
    v: np.ndarray,
    w: np.ndarray,
    bits: np.ndarray,
    lowers: np.ndarray,
    uniform: bool,
    totals_lower: np.ndarray,
    totals_upper: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
    finite: np.ndarray,
) -> None:
    """Write the projections of rows of `v` into `y`; see `box_section.project`, also for `finite`, which may be empty.

    Uniform lower bounds are one number for all entries of all rows: `w` is then `v`, and shifted by that number. Else
    `w` is `y`. Its bits are `bits`.
    """
    n, width = y.shape[1], width_of(y.shape[1])
    y_bits = y.view(bits.dtype)
    peaks = np.empty((n + width - 1) // width, y.dtype)
    peak_bits, active = peaks.view(bits.dtype), np.empty(peaks.size, np.int64)
    floor = lowers[0, 0] if uniform else y.dtype.type(0)
    base = total(lowers, 0, n, width)
    for i in range(first, last):
        if finite.size > 0:
            finite[i] = np.isfinite(total(v, i, n, width))
            if not finite[i]:
                continue
        k = i % len(lowers)
        if len(lowers) > 1:
            base = total(lowers, k, n, width)
        if not uniform:
            _subtract(v, i, lowers, k, y)
        low, high = totals_lower[i % len(totals_lower)] - base, totals_upper[i % len(totals_upper)] - base
        tau, step, tight[i], inside = np.float64(floor), 0.0, True, np.nan
        if low != high:
            inside = 0.0
            for start in range(0, n, width):
                inside += _above(w, i, start, min(n, start + width), floor)[0]
            tight[i] = not ((inside > low or low == -np.inf) and (inside < high or high == np.inf))
            low = min(max(inside, low), high)
        source, source_bits, settled, moved = w, bits, not tight[i] or inside == low, False
        while not settled:
            amount, square = 0.0, 0.0
            for b in range(peaks.size):
                start, stop = b * width, min(n, (b + 1) * width)
                peak_bits[b] = _peak(source_bits, i, start, stop)
                own, squares = moments(source, i, start, stop)
                amount += own
                square += squares
            tau, step, settled = _root(source, i, width, low, amount, square, peaks, active)
            if moved or settled:
                break
            _move(source, i, peaks.max(), y.dtype.type(-low), y)
            source, source_bits, moved = y, y_bits, True
        for start in range(0, n, width):
            _write(source, i, start, min(n, start + width), lowers, k, y.dtype.type(tau), y.dtype.type(step), y)


@inner
def _root(
    w: np.ndarray, i: int, width: int, room: float, amount: float, square: float, peaks: np.ndarray, active: np.ndarray
) -> tuple[float, float, bool]:
    """Return the root as the sum of a number of the row's precision and a small one, and whether that is exact.

    `amount` is the sum of the row's entries, `square` that of their squares.
    """
    n, number, count, highest, eps = w.shape[1], w.dtype.type, peaks.size, peaks[0], np.finfo(w.dtype).eps
    for b in range(count):
        active[b] = b
        highest = max(highest, peaks[b])
    tau = number(max(np.float64(highest) - room, (amount - room) / n))
    mean = amount / n
    deviation = np.sqrt(max(square / n - mean * mean, 0.0))
    guess = number(normal_start(mean, deviation, room / n) if n >= _SHORT else np.nan)
    if tau < guess < highest:
        excess, free, _ = _excess(w, i, width, room, guess, peaks, active, count, False)
        if free > 0:
            tau = max(tau, number(guess + excess / free))
    support = 0.0
    while True:
        excess, free, count = _excess(w, i, width, room, tau, peaks, active, count, True)
        if free == 0:
            break
        following = number(tau + excess / free)
        if free == support or not following > tau:
            if free != support and excess < 0:  # the step before was rounded up, maybe to some entries
                free += _count(w, i, tau)
            return np.float64(tau), excess / free, free == support or abs(excess) <= eps * abs(tau) * free
        tau, support = following, free
    # the root lies between the largest entry and the number before it
    return np.float64(highest), -max(room, 0.0) / max(_count(w, i, highest), 1.0), True


@inner
def _count(w: np.ndarray, i: int, number: float) -> float:
    """Return how many entries of a row are just this number."""
    count = 0.0
    for j in range(w.shape[1]):
        count += w[i, j] == number
    return count


@inner
def _excess(
    w: np.ndarray,
    i: int,
    width: int,
    room: float,
    tau: float,
    peaks: np.ndarray,
    active: np.ndarray,
    count: int,
    shrink: bool,
) -> tuple[float, float, int]:
    """Return by how much entries above `tau` exceed the room, how many they are, and how many blocks they are in.

    Of the active blocks, only these stay active if they are to shrink.
    """
    n, excess, free, kept = w.shape[1], -room, 0.0, 0
    for k in range(count):
        b = active[k]
        if peaks[b] > tau:
            if shrink:
                active[kept] = b
            kept += 1
            above, inside = _above(w, i, b * width, min(n, (b + 1) * width), tau)
            excess += above
            free += inside
    return excess, free, kept


@inner
def _above(w: np.ndarray, i: int, start: int, stop: int, tau: float) -> tuple[float, float]:
    """Return by how much entries are above `tau`, in sum, and how many are."""
    zero, one = w.dtype.type(0), w.dtype.type(1)
    above, count = zero, zero
    for j in span(start, stop):
        d = w[i, j] - tau
        above += max(d, zero)
        count += one if d > zero else zero
    return above, count


@inner
def _peak(bits: np.ndarray, i: int, start: int, stop: int) -> int:
    """Return the bits of the largest entry, given the bits of all: extremes of integers are vectorised."""
    largest, least = bits[i, start], bits[i, start]
    for j in span(start, stop):
        largest = max(largest, bits[i, j])
    if largest >= 0:
        return largest
    for j in span(start, stop):  # of negative numbers, the largest has the least bits
        least = min(least, bits[i, j])
    return least


@inner
def _subtract(v: np.ndarray, i: int, lowers: np.ndarray, k: int, w: np.ndarray) -> None:
    for j in span(0, w.shape[1]):
        w[i, j] = v[i, j] - lowers[k, j]


@inner_in_order
def _move(w: np.ndarray, i: int, tau: float, least: float, y: np.ndarray) -> None:
    """Move a row by the largest entry, `tau`; what is `least` then cannot be free."""
    for j in range(w.shape[1]):
        y[i, j] = max(w[i, j] - tau, least)


@inner_in_order
def _write(
    w: np.ndarray, i: int, start: int, stop: int, lowers: np.ndarray, k: int, tau: float, step: float, y: np.ndarray
) -> None:
    zero, shift = w.dtype.type(0), shift_of(lowers, start, w.shape[1])
    if are_same(w, y):
        for j in span(start, stop):
            y[i, j] = max((y[i, j] - tau) - step, zero) + lowers[k, j - shift]
        return
    for j in span(start, stop):
        y[i, j] = max((w[i, j] - tau) - step, zero) + lowers[k, j - shift]


@kernel
def pull_rows(
    first: int,
    last: int,
    gradient: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
    lowers: np.ndarray,
    result: np.ndarray,
) -> None:
    """Write the derivative times the gradient into `result`; see `box_section.pull`."""
    n, width = y.shape[1], width_of(y.shape[1])
    for i in range(first, last):
        k, total, count = i % len(lowers), 0.0, 0.0
        for start in range(0, n if tight[i] else 0, width):
            own, free = _free_sum(gradient, y, i, start, min(n, start + width), lowers, k)
            total += own
            count += free
        mean = y.dtype.type(total / count if count > 0 else 0.0)
        for start in range(0, n, width):
            _center(gradient, y, i, start, min(n, start + width), lowers, k, mean, result)


@inner
def _free_sum(
    g: np.ndarray, y: np.ndarray, i: int, start: int, stop: int, lowers: np.ndarray, k: int
) -> tuple[float, float]:
    """Return the sum of the free entries' gradients, and how many are free."""
    zero, one, shift = g.dtype.type(0), g.dtype.type(1), shift_of(lowers, start, y.shape[1])
    total, count = zero, zero
    for j in span(start, stop):
        free = y[i, j] > lowers[k, j - shift]
        total += g[i, j] if free else zero
        count += one if free else zero
    return total, count


@inner
def _center(
    g: np.ndarray,
    y: np.ndarray,
    i: int,
    start: int,
    stop: int,
    lowers: np.ndarray,
    k: int,
    mean: float,
    result: np.ndarray,
) -> None:
    zero, shift = g.dtype.type(0), shift_of(lowers, start, y.shape[1])
    for j in span(start, stop):
        result[i, j] = g[i, j] - mean if y[i, j] > lowers[k, j - shift] else zero
