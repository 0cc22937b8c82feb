"""The row kernels of box sections."""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import part, width_of
from optlayers.kernels.cpu.compiled import inner, kernel
from optlayers.kernels.cpu.section_root import root, sums


@kernel
def project_rows(
    first: int,
    last: int,
    v: np.ndarray,
    normals: np.ndarray,
    lowers: np.ndarray,
    uppers: np.ndarray,
    totals_lower: np.ndarray,
    totals_upper: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
) -> None:
    """Write the projections of rows of `v` into `y`; see `box_section.project`."""
    n, width = y.shape[1], width_of(y.shape[1])
    for i in range(first, last):
        a, lower, upper = normals[i % len(normals)], lowers[i % len(lowers)], uppers[i % len(uppers)]
        low, high = totals_lower[i % len(totals_lower)], totals_upper[i % len(totals_upper)]
        tau, step, tight[i] = 0.0, 0.0, True
        if low != high:
            inside = sums(v[i], a, lower, upper, y.dtype.type(0), 1)[0]
            tight[i] = not low < inside < high
            low = min(max(inside, low), high)
        if tight[i]:
            tau, step = root(v[i], a, lower, upper, low)
        for start in range(0, n, width):
            stop = min(n, start + width)
            _write(
                v[i, start:stop],
                part(a, start, stop, n),
                part(lower, start, stop, n),
                part(upper, start, stop, n),
                y.dtype.type(tau),
                y.dtype.type(step),
                y[i, start:stop],
            )


@inner
def _write(
    v: np.ndarray,
    a: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    tau: float,
    step: float,
    y: np.ndarray,
) -> None:
    for i in range(v.size):
        y[i] = min(max((v[i] - tau * a[i]) - step * a[i], lower[i]), upper[i])


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
        a, lower, upper = normals[i % len(normals)], lowers[i % len(lowers)], uppers[i % len(uppers)]
        product, square = 0.0, 0.0
        if tight[i]:
            for start in range(0, n, width):
                stop = min(n, start + width)
                low, high = part(lower, start, stop, n), part(upper, start, stop, n)
                p, s = _products(gradient[i, start:stop], y[i, start:stop], part(a, start, stop, n), low, high)
                product += p
                square += s
        slope = y.dtype.type(product / square if square > 0 else 0.0)
        for start in range(0, n, width):
            stop = min(n, start + width)
            low, high = part(lower, start, stop, n), part(upper, start, stop, n)
            g, own_a = gradient[i, start:stop], part(a, start, stop, n)
            _remove(g, y[i, start:stop], own_a, low, high, slope, result[i, start:stop])


@inner
def _products(g: np.ndarray, y: np.ndarray, a: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
    """Return ``a @ g`` and ``a @ a`` over the free entries."""
    zero = g.dtype.type(0)
    product, square = zero, zero
    for i in range(g.size):
        b = a[i] if (y[i] > lower[i]) & (y[i] < upper[i]) else zero
        product += b * g[i]
        square += b * b
    return product, square


@inner
def _remove(
    g: np.ndarray,
    y: np.ndarray,
    a: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    slope: float,
    result: np.ndarray,
) -> None:
    zero = g.dtype.type(0)
    for i in range(g.size):
        h = g[i] - slope * a[i]
        result[i] = h if (y[i] > lower[i]) & (y[i] < upper[i]) else zero
