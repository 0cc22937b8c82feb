"""Second-order cones ``{y : ||z||_2 <= t}``, `t` one entry of `y`, `z` the others: projection of rows, derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.arrays import array
from optlayers.kernels.cpu.compiled import inner, kernel
from optlayers.kernels.cpu.norms import dot, norm_of
from optlayers.kernels.cpu.threads import over_rows


def project(v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the projection (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1).

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    head : Tensor, shape (rows or a divisor,), or None (zeros)
        Which entry is `t`.
    """
    y = torch.empty(v.shape, dtype=v.dtype)
    source = array(v) if v.is_contiguous() else array(y.copy_(v.detach()))
    over_rows(_project, *v.shape, source, _places(head), array(y))
    return y


def pull(gradient: Tensor, v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    A point on the cone counts as one inside, a point on its polar cone as one beyond it.
    """
    result = torch.empty(v.shape, dtype=v.dtype)
    source = array(gradient) if gradient.is_contiguous() else array(result.copy_(gradient))
    over_rows(_pull, *v.shape, source, array(v), _places(head), array(result))
    return result


def _places(head: Tensor | None) -> np.ndarray:
    return np.zeros(1, np.int64) if head is None else array(head).astype(np.int64)


@inner
def _tail(x: np.ndarray, k: int) -> float:
    """Return the norm of all entries but one."""
    before, after = norm_of(x[:k]), norm_of(x[k + 1 :])
    return np.hypot(before, after) if before > 0 else after


@kernel
def _project(first: int, last: int, v: np.ndarray, heads: np.ndarray, y: np.ndarray) -> None:
    for i in range(first, last):
        k = heads[i % len(heads)]
        head, norm = np.float64(v[i, k]), _tail(v[i], k)
        middle = norm if norm <= head else max(head / 2 + norm / 2, 0.0)
        factor = y.dtype.type(middle / norm if norm > 0 else 1.0)
        for j in range(v.shape[1]):
            y[i, j] = factor * v[i, j]
        y[i, k] = head if norm <= head else middle


@kernel
def _pull(first: int, last: int, gradient: np.ndarray, v: np.ndarray, heads: np.ndarray, result: np.ndarray) -> None:
    """On the boundary the derivative is that of ``(t + ||z||) / 2 * (1, z / ||z||)``."""
    number = v.dtype.type
    for i in range(first, last):
        k = heads[i % len(heads)]
        head, norm = np.float64(v[i, k]), _tail(v[i], k)
        length, g = number(norm if norm > 0 else 1.0), np.float64(gradient[i, k])
        factor, along, top = 1.0, 0.0, g
        if norm <= -head and norm > head:
            factor, top = 0.0, 0.0
        elif norm > head:
            factor = head / (2 * norm) + 0.5
            slope = dot(gradient[i, :k], v[i, :k], length) + dot(gradient[i, k + 1 :], v[i, k + 1 :], length)
            along, top = (slope + g) / 2 - factor * slope, (slope + g) / 2
        scale, step = number(factor), number(along)
        for j in range(v.shape[1]):
            result[i, j] = scale * gradient[i, j] + step * (v[i, j] / length)
        result[i, k] = top
