"""Norms and products of rows, block by block."""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.blocks import width_of
from optlayers.kernels.cpu.compiled import inner


@inner
def norm_of(x: np.ndarray) -> float:
    """Return the Euclidean norm; squares are taken of what is of moderate size."""
    width, square = max(width_of(x.size), 1), 0.0
    for start in range(0, x.size, width):
        square += _square(x[start : start + width])
    if 1e-30 < square < 1e30:
        return np.sqrt(square)
    largest = np.float64(0)
    for i in range(x.size):
        largest = max(largest, np.float64(abs(x[i])))
    if largest == 0 or not np.isfinite(largest):
        return largest
    square = 0.0
    for i in range(x.size):
        square += (x[i] / largest) ** 2
    return largest * np.sqrt(square)


@inner
def _square(x: np.ndarray) -> float:
    result = x.dtype.type(0)
    for i in range(x.size):
        result += x[i] * x[i]
    return result


@inner
def dot(g: np.ndarray, v: np.ndarray, length: float) -> float:
    """Return the product of `g` with ``v / length``."""
    width, result = max(width_of(g.size), 1), 0.0
    for start in range(0, g.size, width):
        result += _product(g[start : start + width], v[start : start + width], length)
    return result


@inner
def _product(g: np.ndarray, v: np.ndarray, length: float) -> float:
    result = g.dtype.type(0)
    for i in range(g.size):
        result += g[i] * (v[i] / length)
    return result
