"""The root `tau` of ``a @ clamp(v - tau * a, lower, upper) = total`` for one row, without sorting.

Newton's method on a decreasing, piecewise linear function, safeguarded by a bracket (Cominetti, Mascarenhas and Silva,
"A Newton's method for the continuous quadratic knapsack problem", 2014), with secants where narrow bounds make the
function a staircase. Long rows start from the root of a part of their entries. Where the normal is positive, and the
lower bounds are zero, blocks that are zero to the left of the root stay zero, and are left out. Where the root is so
far that its own rounding counts, the row is moved there, and searched again from zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from optlayers.kernels.cpu.blocks import shift_of, span
from optlayers.kernels.cpu.compiled import inner
from optlayers.kernels.cpu.normal_start import normal_start

_MOST_STEPS = 200
_SHARE = 8  # the start is near the root of every so many entries, with the total in proportion
_FIRST_STEPS = 3  # on these
SETTLED, UNSETTLED, NEARLY, UNREACHED = range(4)
_NEARLY = 1e-3  # of the products: totals out of reach by more are told before
_SETTLED = 16  # roundings by which the total may be missed: the last step mends the rest
_FAR = 16.0  # deviations of the multipliers that bring each entry to zero
_SHORT = 4096  # shorter rows are taken as they are


class SectionRow(NamedTuple):
    """A row of points ``(rows, n)`` and its data, in arrays of a divisor of as many rows, shorter ones if uniform.

    Loops take whole arrays and places: views would cost more than short rows do.
    """

    v: np.ndarray
    normals: np.ndarray
    lowers: np.ndarray
    uppers: np.ndarray
    i: int
    normal: int
    lower: int
    upper: int


class Blocks(NamedTuple):
    """Blocks of `width` entries; those that are looked at, the first `count` of `active`, and the products in each."""

    width: int
    active: np.ndarray
    products: np.ndarray


@inner
def estimate(row: SectionRow, goal: float, positive: bool, blocks: Blocks) -> tuple[float, float, float]:
    """Return where the search for the root starts, how far it may be, and the slope there, or 0; see `search`."""
    share = 1 if row.v.shape[1] < _SHORT else _SHARE
    center, spread, square = _scale(row, share, blocks.width)
    start, slope = normal_start(center, spread, goal / (share * square)) if positive and square > 0 else np.nan, 0.0
    start = start if np.isfinite(start) else center
    if share > 1:
        tau, step, slope, _, _ = _search(row, goal, start, spread, 0.0, share, False, _FIRST_STEPS, blocks)
        start = tau + min(max(step, -_FAR * spread), _FAR * spread)
    return start, spread, slope


@inner
def search(
    row: SectionRow, goal: float, start: float, spread: float, slope: float, positive: bool, blocks: Blocks
) -> tuple[float, float, float, int, int]:
    """Return the root as the sum of a number of the row's precision and a small one, and more; the last step is exact.

    `goal` is the total; `positive` says that the normal is, see `arrays.is_positive`, and that the lower bounds are
    zero: in blocks that are not active, the projection is then zero. Then follow the mean slope near the root, how many
    blocks are active, and whether the total is met but for rounding: `SETTLED`, or not; where no entry can move, it is
    `NEARLY` if that is a matter of tolerance, else `UNREACHED`.
    """
    return _search(row, goal, start, spread, slope, 1, positive, _MOST_STEPS, blocks)


@inner
def _search(
    row: SectionRow,
    goal: float,
    start: float,
    reach: float,
    slope: float,
    share: int,
    positive: bool,
    most_steps: int,
    blocks: Blocks,
) -> tuple[float, float, float, int, int]:
    """Return what `search` does, of a share of the entries, all counted.

    `reach` is a step to try where nothing tells how far the root is; `slope` a guess, or 0.
    """
    number = row.v.dtype.type
    eps, factor = np.finfo(row.v.dtype).eps, np.float64(share)
    tau, step, mean = number(start), 0.0, slope
    left, right, above, below = -np.inf, np.inf, 0.0, 0.0
    support, change, before = -1.0, 0.0, 0.0
    excess, product, free, bracketed, looked = 0.0, 0.0, 0.0, False, all_of(blocks)
    out_of_reach = False
    for count in range(most_steps):
        out_of_reach = count == most_steps - 1 or not np.isfinite(number(_FAR * reach))
        product, free = sums(row, tau, share, blocks, looked)
        excess, free = factor * product - goal, factor * free
        step = excess / free if free > 0 else 0.0
        if excess == 0 or count == most_steps - 1 or (free > 0 and number(tau + step) == tau):
            break
        if free == support or free == 0:  # the same entries are free as before: is this step rounding?
            if free > 0 and abs(step) <= 8 * eps * abs(change):
                break
            size = product if positive else _size(row, tau, share, blocks.width)
            if abs(excess) <= 4 * eps * (factor * size + abs(goal)):
                break
        if excess > 0:
            left, above = np.float64(tau), excess
            if positive:
                looked = _drop_zeros(blocks, looked)
        else:
            right, below = np.float64(tau), excess
        bracketed = np.isfinite(left) and np.isfinite(right)
        if bracketed:
            mean = (above - below) / (right - left)
        following = number(tau + step)
        if free == 0 or abs(excess) > 0.5 * abs(before) > 0:
            secant = (before - excess) / change if change != 0 else slope
            following = number(tau + excess / secant) if secant > 0 else tau
        if not bracketed and abs(following - tau) > _FAR * reach:  # slopes of faint entries alone lead too far
            following = number(tau + np.sign(excess) * _FAR * reach)
            reach = _FAR * reach
        if not left < following < right:
            following = number(left + above / mean) if bracketed else tau
        if not left < following < right or count % 8 == 7:
            following = number(left / 2 + right / 2) if bracketed else number(tau + np.sign(excess) * reach)
            reach = reach if bracketed else 2 * reach
        if not left < following < right:
            break
        support, before, change, tau = free, excess, np.float64(following) - np.float64(tau), following
    size = factor * abs(product) + abs(goal)
    if abs(excess) > _SETTLED * eps * size and not positive:
        size = factor * _size(row, tau, share, blocks.width) + abs(goal)
    verdict = SETTLED if abs(excess) <= _SETTLED * eps * size else UNSETTLED
    if verdict == UNSETTLED and free == 0 and not bracketed and out_of_reach:
        verdict = NEARLY if abs(excess) <= _NEARLY * size else UNREACHED
    return np.float64(tau), step, mean, looked, verdict


@inner
def all_of(blocks: Blocks) -> int:
    """Make all blocks active, and return how many there are."""
    for b in range(blocks.active.size):
        blocks.active[b] = b
    return blocks.active.size


@inner
def _drop_zeros(blocks: Blocks, count: int) -> int:
    """Keep the blocks whose last product is not zero active, and return how many they are."""
    kept = 0
    for k in range(count):
        if blocks.products[k] != 0:
            blocks.active[kept] = blocks.active[k]
            kept += 1
    return kept


@inner
def sums(row: SectionRow, tau: float, share: int, blocks: Blocks, count: int) -> tuple[float, float]:
    """Return ``a @ y`` for ``y = clamp(v - tau * a, lower, upper)``, and ``a @ a`` where `y` is free, of a share."""
    n, length, product, free = row.v.shape[1], max(1, blocks.width // share), 0.0, 0.0
    for k in range(count):
        start = blocks.active[k] * blocks.width
        p, f = _block(row, start, min(n, start + length), tau)
        blocks.products[k] = p
        product += p
        free += f
    return product, free


@inner
def _block(row: SectionRow, start: int, stop: int, tau: float) -> tuple[float, float]:
    v, normals, lowers, uppers, i, k, low, high = row
    n, zero = v.shape[1], v.dtype.type(0)
    shift, below, above = shift_of(normals, start, n), shift_of(lowers, start, n), shift_of(uppers, start, n)
    product, free = zero, zero
    for j in span(start, stop):
        a = normals[k, j - shift]
        x = v[i, j] - tau * a
        y = min(max(x, lowers[low, j - below]), uppers[high, j - above])
        product += a * y
        b = a if x == y else zero
        free += b * b
    return product, free


@inner
def _size(row: SectionRow, tau: float, share: int, width: int) -> float:
    """Return the sum of the absolute products, of which the rounding of their sum is a small part."""
    n, length, result = row.v.shape[1], max(1, width // share), 0.0
    for start in range(0, n, width):
        result += _block_size(row, start, min(n, start + length), tau)
    return result


@inner
def _block_size(row: SectionRow, start: int, stop: int, tau: float) -> float:
    v, normals, lowers, uppers, i, k, low, high = row
    n, result = v.shape[1], v.dtype.type(0)
    shift, below, above = shift_of(normals, start, n), shift_of(lowers, start, n), shift_of(uppers, start, n)
    for j in span(start, stop):
        a = normals[k, j - shift]
        result += abs(a * min(max(v[i, j] - tau * a, lowers[low, j - below]), uppers[high, j - above]))
    return result


@inner
def _scale(row: SectionRow, share: int, width: int) -> tuple[float, float, float]:
    """Return the multiplier that brings the largest part of `v` to zero, by how much it is off, and ``a @ a``.

    These are the mean and the deviation of the multipliers that bring each entry to zero.
    """
    n, length, square, product, rest = row.v.shape[1], max(1, width // share), 0.0, 0.0, 0.0
    for start in range(0, n, width):
        p, s, r = _block_scale(row, start, min(n, start + length))
        product += p
        square += s
        rest += r
    center = product / square if square > 0 else 0.0
    if not np.isfinite(center):  # sums overflow
        center = row.v[row.i, 0] / row.normals[row.normal, 0] if row.normals[row.normal, 0] != 0 else 0.0
    spread = np.sqrt(max(rest / square - center**2, 0.0)) if square > 0 else 0.0
    return center, spread if 0 < spread < np.inf else max(abs(center), 1.0), square


@inner
def _block_scale(row: SectionRow, start: int, stop: int) -> tuple[float, float, float]:
    v, i, normals, k = row.v, row.i, row.normals, row.normal
    product, square, rest = v.dtype.type(0), v.dtype.type(0), v.dtype.type(0)
    shift = shift_of(normals, start, v.shape[1])
    for j in span(start, stop):
        a = normals[k, j - shift]
        product += a * v[i, j]
        square += a * a
        rest += v[i, j] * v[i, j]
    return product, square, rest
