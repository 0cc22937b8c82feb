"""Rows onto ``{y >= lower, total_lower <= sum(y) <= total_upper}``, without sorting; the result's row is the workspace.

The root `tau` of ``sum_i max(w_i - tau, 0) = room``, ``w = v - lower``, by Newton's method from the left, where it is
monotone, so that the support only shrinks (Michelot, "A finite algorithm for finding the projection of a point onto
the canonical simplex of R^n", 1986), over the blocks whose largest entry is above `tau` (after Condat, "Fast projection
onto the simplex and the l1 ball", 2016, who filters entries).
"""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import part, peak, total, width_of
from optlayers.kernels.cpu.compiled import inner, kernel


@kernel
def project_rows(
    first: int,
    last: int,
    v: np.ndarray,
    lowers: np.ndarray,
    totals_lower: np.ndarray,
    totals_upper: np.ndarray,
    y: np.ndarray,
    bits: np.ndarray,
    tight: np.ndarray,
) -> None:
    """Write the projections of rows of `v` into `y`, whose bits are `bits`; see `box_section.project`."""
    n, width = y.shape[1], width_of(y.shape[1])
    peaks = np.empty((n + width - 1) // width, y.dtype)
    peak_bits, active = peaks.view(bits.dtype), np.empty(peaks.size, np.int64)
    for i in range(first, last):
        w, lower = y[i], lowers[i % len(lowers)]
        amount, base = 0.0, 0.0
        for b in range(peaks.size):
            start, stop = b * width, min(n, (b + 1) * width)
            bound = part(lower, start, stop, n)
            _subtract(v[i, start:stop], bound, w[start:stop])
            peak_bits[b] = peak(bits[i, start:stop])
            amount += total(w[start:stop])
            base += total(bound)
        low, high = totals_lower[i % len(totals_lower)] - base, totals_upper[i % len(totals_upper)] - base
        tau, step, tight[i] = 0.0, 0.0, True
        if low != high:
            inside = 0.0
            for start in range(0, n, width):
                inside += _above(w[start : start + width], y.dtype.type(0))[0]
            tight[i] = not low < inside < high
            low = min(max(inside, low), high)
        if tight[i]:
            tau, step = _root(w, low, amount, peaks, active)
        for start in range(0, n, width):
            stop = min(n, start + width)
            _write(w[start:stop], part(lower, start, stop, n), y.dtype.type(tau), y.dtype.type(step))


@inner
def _root(w: np.ndarray, room: float, amount: float, peaks: np.ndarray, active: np.ndarray) -> tuple[float, float]:
    """Return the root as the sum of a number of the row's precision and a small one; `amount` is the sum of `w`."""
    width, count, highest = width_of(w.size), peaks.size, peaks.max()
    tau = w.dtype.type(max(np.float64(highest) - room, (amount - room) / w.size))
    for b in range(count):
        active[b] = b
    support = 0.0
    while True:
        excess, free, kept = -room, 0.0, 0
        for k in range(count):
            b = active[k]
            if peaks[b] > tau:
                active[kept] = b
                kept += 1
                above, inside = _above(w[b * width : (b + 1) * width], tau)
                excess += above
                free += inside
        if free == 0:
            break
        following = w.dtype.type(tau + excess / free)
        if free == support or not following > tau:
            return np.float64(tau), excess / free
        tau, support, count = following, free, kept
    ties = 0  # the root lies between the largest entry and the number before it
    for i in range(w.size):
        ties += w[i] == highest
    return np.float64(highest), -max(room, 0.0) / max(ties, 1)


@inner
def _subtract(v: np.ndarray, bound: np.ndarray, w: np.ndarray) -> None:
    for i in range(w.size):
        w[i] = v[i] - bound[i]


@inner
def _above(w: np.ndarray, tau: float) -> tuple[float, float]:
    """Return by how much entries are above `tau`, in sum, and how many are."""
    zero, one = w.dtype.type(0), w.dtype.type(1)
    above, count = zero, zero
    for i in range(w.size):
        d = w[i] - tau
        above += max(d, zero)
        count += one if d > zero else zero
    return above, count


@inner
def _write(w: np.ndarray, bound: np.ndarray, tau: float, step: float) -> None:
    zero = w.dtype.type(0)
    for i in range(w.size):
        w[i] = max((w[i] - tau) - step, zero) + bound[i]
