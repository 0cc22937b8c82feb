"""L1 balls ``{y : sum_i weights_i |y_i| <= radius}``: the projection of rows, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.arrays import array, bits, data, is_positive, totals
from optlayers.kernels.cpu.blocks import part, width_of
from optlayers.kernels.cpu.compiled import inner, kernel
from optlayers.kernels.cpu.section_rows import project_rows
from optlayers.kernels.cpu.simplex_rows import project_rows as project_simplex_rows
from optlayers.kernels.cpu.threads import over_rows


def project(v: Tensor, weights: Tensor | None, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection, and which rows are not inside the ball.

    The magnitudes are projected onto a section of the nonnegative orthant.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    weights : Tensor, shape (rows or a divisor, n), or None
        Nonnegative; None for ones.
    radius : Tensor, shape (rows or a divisor,)

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor of bool, shape (rows,)
    """
    y, tight = torch.empty(v.shape, dtype=v.dtype), torch.empty(len(v), dtype=torch.bool)
    target, source = array(y), array(v)
    zero = data(None, 0.0, target)
    limits = totals(None, -np.inf), np.maximum(totals(radius, np.inf), 0.0)
    where = array(tight), np.empty(0, bool)
    over_rows(_magnitudes, *v.shape, source, target)
    if weights is None:
        own = target, target, bits(target), zero, True
        over_rows(project_simplex_rows, *v.shape, *own, *limits, target, *where)
    else:
        normals = data(weights, 1.0, target)
        own = normals, zero, data(None, np.inf, target), is_positive(normals)
        over_rows(project_rows, *v.shape, target, *own, *limits, target, *where)
    over_rows(_signs, *v.shape, source, target)
    return y, tight


def pull(gradient: Tensor, y: Tensor, tight: Tensor, weights: Tensor | None) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    On rows that are not inside the ball, entries that are not zero, or have no weight, are free: their part of the
    gradient loses its component along the signed weights.
    """
    result = torch.empty(y.shape, dtype=y.dtype)
    target = array(result)
    over_rows(_pull, *y.shape, array(gradient), array(y), array(tight), data(weights, 1.0, target), target)
    return result


@kernel
def _magnitudes(first: int, last: int, v: np.ndarray, y: np.ndarray) -> None:
    for i in range(first, last):
        for j in range(v.shape[1]):
            y[i, j] = abs(v[i, j])


@kernel
def _signs(first: int, last: int, v: np.ndarray, y: np.ndarray) -> None:
    zero = y.dtype.type(0)
    for i in range(first, last):
        for j in range(v.shape[1]):
            y[i, j] = -y[i, j] if v[i, j] < zero else y[i, j]


@kernel
def _pull(
    first: int,
    last: int,
    gradient: np.ndarray,
    y: np.ndarray,
    tight: np.ndarray,
    weights: np.ndarray,
    result: np.ndarray,
) -> None:
    n, width = y.shape[1], width_of(y.shape[1])
    for i in range(first, last):
        if not tight[i]:
            for j in range(n):
                result[i, j] = gradient[i, j]
            continue
        w, product, square = weights[i % len(weights)], 0.0, 0.0
        for start in range(0, n, width):
            stop = min(n, start + width)
            p, s = _products(gradient[i, start:stop], y[i, start:stop], part(w, start, stop, n))
            product += p
            square += s
        slope = y.dtype.type(product / square if square > 0 else 0.0)
        for start in range(0, n, width):
            stop = min(n, start + width)
            _remove(gradient[i, start:stop], y[i, start:stop], part(w, start, stop, n), slope, result[i, start:stop])


@inner
def _products(g: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    zero = g.dtype.type(0)
    product, square = zero, zero
    for i in range(g.size):
        direction = w[i] if y[i] > zero else (-w[i] if y[i] < zero else zero)
        product += direction * g[i]
        square += direction * direction
    return product, square


@inner
def _remove(g: np.ndarray, y: np.ndarray, w: np.ndarray, slope: float, result: np.ndarray) -> None:
    zero = g.dtype.type(0)
    for i in range(g.size):
        direction = w[i] if y[i] > zero else (-w[i] if y[i] < zero else zero)
        result[i] = g[i] - slope * direction if (y[i] != zero) | (w[i] == zero) else zero
