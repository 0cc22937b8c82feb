"""The root `tau` of ``a @ clamp(v - tau * a, lower, upper) = total`` for one row, without sorting.

Newton's method on a decreasing, piecewise linear function, safeguarded by a bracket (Cominetti, Mascarenhas and Silva,
"A Newton's method for the continuous quadratic knapsack problem", 2014), with secants where narrow bounds make the
function a staircase; it starts from the root of a part of the entries.
"""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import part, width_of
from optlayers.kernels.cpu.compiled import inner

_MOST_STEPS = 200
_SHARE = 8  # the start is the root of every so many entries, with the total in proportion
_SHORT = 256  # shorter rows are taken as they are


@inner
def root(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, goal: float) -> tuple[float, float]:
    """Return the root as the sum of a number of the row's precision and a small one; the last step is exact.

    Parameters
    ----------
    v : ndarray, shape (n,)
    a, lower, upper : ndarray, shape (n,), or shorter where uniform
    goal : float
        The total.
    """
    if v.size < _SHORT:
        start, spread = _scale(v, a, 1)
        tau, step, _ = _search(v, a, lower, upper, goal, start, spread, 0.0, 1)
        return tau, step
    start, spread = _scale(v, a, _SHARE)
    tau, step, slope = _search(v, a, lower, upper, goal, start, spread, 0.0, _SHARE)
    tau, step, _ = _search(v, a, lower, upper, goal, tau + step, spread, slope, 1)
    return tau, step


@inner
def _search(
    v: np.ndarray,
    a: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    goal: float,
    start: float,
    reach: float,
    slope: float,
    share: int,
) -> tuple[float, float, float]:
    """Return the root as two numbers, and the mean slope near it, all entries counted.

    `reach` is a step to try where nothing tells how far the root is; `slope` a guess, or 0.
    """
    number = v.dtype.type
    eps, factor = np.finfo(v.dtype).eps, np.float64(share)
    tau, step, mean = number(start), 0.0, slope
    left, right, above, below = -np.inf, np.inf, 0.0, 0.0
    support, change, before = -1.0, 0.0, 0.0
    for count in range(_MOST_STEPS):
        product, free = sums(v, a, lower, upper, tau, share)
        excess, free = factor * product - goal, factor * free
        step = excess / free if free > 0 else 0.0
        if excess == 0 or (free > 0 and number(tau + step) == tau):
            break
        if free == support or free == 0:  # the same entries are free as before: is this step rounding?
            if free > 0 and abs(step) <= 8 * eps * abs(change):
                break
            if abs(excess) <= 4 * eps * (factor * _size(v, a, lower, upper, tau, share) + abs(goal)):
                break
        if excess > 0:
            left, above = np.float64(tau), excess
        else:
            right, below = np.float64(tau), excess
        bracketed = np.isfinite(left) and np.isfinite(right)
        if bracketed:
            mean = (above - below) / (right - left)
        following = number(tau + step)
        if free == 0 or abs(excess) > 0.5 * abs(before) > 0:
            secant = (before - excess) / change if change != 0 else slope
            following = number(tau + excess / secant) if secant > 0 else tau
        if not left < following < right:
            following = number(left + above / mean) if bracketed else tau
        if not left < following < right or count % 8 == 7:
            following = number(left / 2 + right / 2) if bracketed else number(tau + np.sign(excess) * reach)
            reach = reach if bracketed else 2 * reach
        if not left < following < right:
            break
        support, before, change, tau = free, excess, np.float64(following) - np.float64(tau), following
    return np.float64(tau), step, mean


@inner
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


@inner
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


@inner
def _size(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, tau: float, share: int) -> float:
    """Return the sum of the absolute products, of which the rounding of their sum is a small part."""
    n, width, result = v.size, width_of(v.size), 0.0
    for start in range(0, n, width):
        stop = min(n, start + max(1, width // share))
        result += _block_size(
            v[start:stop], part(a, start, stop, n), part(lower, start, stop, n), part(upper, start, stop, n), tau
        )
    return result


@inner
def _block_size(v: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray, tau: float) -> float:
    result = v.dtype.type(0)
    for i in range(v.size):
        result += abs(a[i] * min(max(v[i] - tau * a[i], lower[i]), upper[i]))
    return result


@inner
def _scale(v: np.ndarray, a: np.ndarray, share: int) -> tuple[float, float]:
    """Return the multiplier that brings the largest part of `v` to zero, and by how much it is off for the rest."""
    n, width = v.size, width_of(v.size)
    square, product, rest = 0.0, 0.0, 0.0
    for start in range(0, n, width):
        stop = min(n, start + max(1, width // share))
        p, s, r = _block_scale(v[start:stop], part(a, start, stop, n))
        product += p
        square += s
        rest += r
    center = product / square if square > 0 else 0.0
    spread = np.sqrt(max(rest / square - center**2, 0.0)) if square > 0 else 0.0
    return center, spread if spread > 0 else max(abs(center), 1.0)


@inner
def _block_scale(v: np.ndarray, a: np.ndarray) -> tuple[float, float, float]:
    product, square, rest = v.dtype.type(0), v.dtype.type(0), v.dtype.type(0)
    for i in range(v.size):
        product += a[i] * v[i]
        square += a[i] * a[i]
        rest += v[i] * v[i]
    return product, square, rest
