"""The row kernels of box sections."""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import are_same, shift_of, span, total, width_of
from optlayers.kernels.cpu.compiled import inner, inner_in_order, kernel
from optlayers.kernels.cpu.section_root import (
    NEARLY,
    SETTLED,
    UNREACHED,
    Blocks,
    SectionRow,
    all_of,
    estimate,
    search,
    sums,
)

_MOST_MOVES = 40  # each takes a row nearer by its precision; from one end of the range to one takes 20


@kernel
def project_rows(
    first: int,
    last: int,
    v: np.ndarray,
    normals: np.ndarray,
    lowers: np.ndarray,
    uppers: np.ndarray,
    positive: bool,
    totals_lower: np.ndarray,
    totals_upper: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
    finite: np.ndarray,
) -> None:
    """Write the projections of rows of `v` into `y`; see `search` for `positive`.

    See `box_section.project` for the rest; `finite` may be empty.
    """
    n, width, eps = y.shape[1], width_of(y.shape[1]), np.finfo(y.dtype).eps
    size = (n + width - 1) // width
    blocks = Blocks(width, np.empty(size, np.int64), np.empty(size))
    for i in range(first, last):
        if finite.size > 0:
            finite[i] = np.isfinite(total(v, i, n, width))
            if not finite[i]:
                continue
        all_of(blocks)
        row = SectionRow(v, normals, lowers, uppers, i, i % len(normals), i % len(lowers), i % len(uppers))
        low, high = totals_lower[i % len(totals_lower)], totals_upper[i % len(totals_upper)]
        tau, step, tight[i], active, inside = 0.0, 0.0, True, size, np.nan
        if low != high:
            inside = sums(row, y.dtype.type(0), 1, blocks, size)[0]
            tight[i] = not ((inside > low or low == -np.inf) and (inside < high or high == np.inf))
            low = min(max(inside, low), high)
        if tight[i] and inside != low:  # else the multiplier is zero, and entries at bounds stay there
            start, spread, slope = estimate(row, low, positive, blocks)
            unreached, verdict = 0, UNREACHED
            for _ in range(_MOST_MOVES):
                tau, step, slope, active, verdict = search(row, low, start, spread, slope, positive, blocks)
                unreached += verdict == UNREACHED
                if verdict in (SETTLED, NEARLY) or unreached > 1 or not np.isfinite(tau):
                    break
                _move(row, y.dtype.type(tau + step), y)
                row = SectionRow(y, normals, lowers, uppers, i, row.normal, row.lower, row.upper)
                start, spread, slope, step = 0.0, eps * max(abs(tau), abs(step)), 0.0, 0.0
            if verdict != SETTLED and verdict != NEARLY:
                _fill(y, i, 0, n, y.dtype.type(np.nan))
                continue
        written, zero = 0, y.dtype.type(0)
        for k in range(active):
            start = blocks.active[k] * width
            _fill(y, i, written, start, zero)
            written = min(n, start + width)
            _write(row, start, written, y.dtype.type(tau), y.dtype.type(step), y)
        _fill(y, i, written, n, zero)


@inner
def _fill(y: np.ndarray, i: int, start: int, stop: int, value: float) -> None:
    for j in span(start, stop):
        y[i, j] = value


@inner_in_order
def _move(row: SectionRow, tau: float, y: np.ndarray) -> None:
    n = row.v.shape[1]
    normals, k = row.normals, row.normal
    width = normals.shape[1]
    for j in range(n):
        y[row.i, j] = row.v[row.i, j] - tau * normals[k, j % width]


@inner_in_order
def _write(row: SectionRow, start: int, stop: int, tau: float, step: float, y: np.ndarray) -> None:
    v, normals, lowers, uppers, i, k, low, high = row
    n = v.shape[1]
    shift, below, above = shift_of(normals, start, n), shift_of(lowers, start, n), shift_of(uppers, start, n)
    if are_same(v, y):
        for j in span(start, stop):
            a = normals[k, j - shift]
            y[i, j] = min(max((y[i, j] - tau * a) - step * a, lowers[low, j - below]), uppers[high, j - above])
        return
    for j in span(start, stop):
        a = normals[k, j - shift]
        y[i, j] = min(max((v[i, j] - tau * a) - step * a, lowers[low, j - below]), uppers[high, j - above])


@kernel
def pull_rows(
    first: int,
    last: int,
    gradient: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
    normals: np.ndarray,
    lowers: np.ndarray,
    uppers: np.ndarray,
    result: np.ndarray,
) -> None:
    """Write the derivative times the gradient into `result`; see `box_section.pull`."""
    n, width = y.shape[1], width_of(y.shape[1])
    for i in range(first, last):
        row = SectionRow(y, normals, lowers, uppers, i, i % len(normals), i % len(lowers), i % len(uppers))
        product, square = 0.0, 0.0
        for start in range(0, n if tight[i] else 0, width):
            p, s = _products(gradient, row, start, min(n, start + width))
            product += p
            square += s
        slope = y.dtype.type(product / square if square > 0 else 0.0)
        for start in range(0, n, width):
            _remove(gradient, row, start, min(n, start + width), slope, result)


@inner
def _products(g: np.ndarray, row: SectionRow, start: int, stop: int) -> tuple[float, float]:
    """Return ``a @ g`` and ``a @ a`` over the free entries of a row of projections."""
    y, normals, lowers, uppers, i, k, low, high = row
    n, zero = y.shape[1], y.dtype.type(0)
    shift, below, above = shift_of(normals, start, n), shift_of(lowers, start, n), shift_of(uppers, start, n)
    product, square = zero, zero
    for j in span(start, stop):
        free = (y[i, j] > lowers[low, j - below]) & (y[i, j] < uppers[high, j - above])
        a = normals[k, j - shift] if free else zero
        product += a * g[i, j]
        square += a * a
    return product, square


@inner
def _remove(g: np.ndarray, row: SectionRow, start: int, stop: int, slope: float, result: np.ndarray) -> None:
    y, normals, lowers, uppers, i, k, low, high = row
    n, zero = y.shape[1], y.dtype.type(0)
    shift, below, above = shift_of(normals, start, n), shift_of(lowers, start, n), shift_of(uppers, start, n)
    for j in span(start, stop):
        free = (y[i, j] > lowers[low, j - below]) & (y[i, j] < uppers[high, j - above])
        h = g[i, j] - slope * normals[k, j - shift]
        result[i, j] = h if free else zero
