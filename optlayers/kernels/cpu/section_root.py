"""The root `tau` of ``a @ clamp(v - tau * a, lower, upper) = total`` for one row, without sorting.

Newton's method on a decreasing, piecewise linear function, safeguarded by a bracket (Cominetti, Mascarenhas and Silva,
"A Newton's method for the continuous quadratic knapsack problem", 2014), with secants where narrow bounds make the
function a staircase; it starts from the root of a part of the entries.
"""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import part, width_of
from optlayers.kernels.cpu.compiled import compiled

_MOST_STEPS = 200
_SHARE = 8  # the start is the root of every so many entries, with the total in proportion
_SHORT = 256  # shorter rows are taken as they are


@compiled
def root(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, goal: float) -> tuple[float, float]:
    """Return the root as the sum of a number of the row's precision and a small one; the last step is exact.

    Parameters
    ----------
    v : ndarray, shape (n,)
    a, lower, upper : ndarray, shape (n,), or shorter where uniform
    goal : float
        The total.
    """
    tau, step, slope = 0.0, 0.0, 0.0
    for share in (_SHARE, 1):
        if share == 1 or v.size >= _SHORT:
            tau, step, slope = _search(v, a, lower, upper, goal, tau + step, slope, share)
    return tau, step


@compiled
def _search(
    v: np.ndarray,
    a: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    goal: float,
    start: float,
    slope: float,
    share: int,
) -> tuple[float, float, float]:
    """Return the root as two numbers, and the mean slope near it, all entries counted."""
    tau, step, factor = v.dtype.type(start), 0.0, np.float64(share)
    left, right, above, below = -np.inf, np.inf, 0.0, 0.0
    support, change, before, excess_before = -1.0, 0.0, 0.0, 0.0
    mean = slope
    for count in range(_MOST_STEPS):
        product, free = sums(v, a, lower, upper, tau, share)
        product, free = factor * product, factor * free
        excess = product - goal
        step = excess / free if free > 0 else 0.0
        if excess == 0 or (free > 0 and v.dtype.type(tau + step) == tau):
            break
        if free == support or free == 0:  # the entries that were free, so that this step is rounding?
            if free > 0 and abs(step) <= 8 * np.finfo(v.dtype).eps * abs(change):
                break
            if abs(excess) <= 4 * np.finfo(v.dtype).eps * (factor * _size(v, a, lower, upper, tau, share) + abs(goal)):
                break
        secant = (excess_before - excess) / change if change != 0 else slope
        if excess > 0:
            left, above = np.float64(tau), excess
        else:
            right, below = np.float64(tau), excess
        bracketed = np.isfinite(left) and np.isfinite(right)
        if bracketed:
            mean = (above - below) / (right - left)
        following = tau + step
        if free == 0 or (count % 2 == 1 and not 0.5 * secant < free < 2 * secant):
            following = tau + excess / secant if secant > 0 else np.nan
        if not left < following < right or count % 6 == 5:
            if not bracketed:
                first, last = _reach(v, a, lower, upper)
                following = max(left, first) / 2 + min(right, last) / 2
            elif count % 2 == 0:
                following = left + above / mean
            else:
                following = left / 2 + right / 2
        rounded = v.dtype.type(following)
        if not left < rounded < right:
            break
        support, excess_before, change, tau = free, excess, np.float64(rounded) - np.float64(tau), rounded
    return np.float64(tau), step, mean


@compiled
def sums(
    v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, tau: float, share: int
) -> tuple[float, float]:
    """Return ``a @ y`` for ``y = clamp(v - tau * a, lower, upper)``, and ``a @ a`` where `y` is free, of a share."""
    n, width = v.size, width_of(v.size)
    product, free = 0.0, 0.0
    for start in range(0, n, width):
        stop = min(n, start + max(1, width // share))
        p, f = _block(
            v[start:stop], part(a, start, stop, n), part(lower, start, stop, n), part(upper, start, stop, n), tau
        )
        product += p
        free += f
    return product, free


@compiled
def _block(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, tau: float) -> tuple[float, float]:
    zero = v.dtype.type(0)
    product, free = zero, zero
    for i in range(v.size):
        x = v[i] - tau * a[i]
        y = min(max(x, lower[i]), upper[i])
        product += a[i] * y
        b = a[i] if x == y else zero
        free += b * b
    return product, free


@compiled
def _size(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, tau: float, share: int) -> float:
    """Return the sum of the absolute products, of which the rounding of their sum is a small part."""
    n, width, result = v.size, width_of(v.size), 0.0
    for start in range(0, n, width):
        stop = min(n, start + max(1, width // share))
        b, low, high = part(a, start, stop, n), part(lower, start, stop, n), part(upper, start, stop, n)
        for i in range(stop - start):
            result += abs(b[i] * min(max(v[start + i] - tau * b[i], low[i]), high[i]))
    return result


@compiled
def _reach(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
    """Return multipliers before the first and after the last one at which an entry meets a bound."""
    n, width, first, last = v.size, width_of(v.size), np.inf, -np.inf
    for start in range(0, n, width):
        stop = min(n, start + width)
        b, low, high = part(a, start, stop, n), part(lower, start, stop, n), part(upper, start, stop, n)
        for i in range(stop - start):
            for bound in (low[i], high[i]):
                if b[i] != 0 and np.isfinite(bound):
                    time = (np.float64(v[start + i]) - bound) / b[i]
                    first, last = min(first, time), max(last, time)
    if first > last:
        return -1.0, 1.0
    margin = last - first if last > first else max(abs(first), 1.0)
    return first - margin, last + margin
