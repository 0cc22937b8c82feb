"""L2 balls around the origin: the projection of rows, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.arrays import array, totals
from optlayers.kernels.cpu.compiled import kernel
from optlayers.kernels.cpu.norms import dot, norm_of
from optlayers.kernels.cpu.threads import over_rows


def project(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection onto ``{y : ||y||_2 <= radius}``, and the norms of the points.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    radius : Tensor, shape (rows or a divisor,)
        A negative one counts as zero.

    Returns
    -------
    y : Tensor, shape (rows, n)
    norm : Tensor, shape (rows,)
        In double precision.
    """
    y, norm = torch.empty(v.shape, dtype=v.dtype), torch.empty(len(v), dtype=torch.float64)
    source = array(v) if v.is_contiguous() else array(y.copy_(v.detach()))
    over_rows(_project, *v.shape, source, np.maximum(totals(radius, np.inf), 0.0), array(y), array(norm))
    return y, norm


def pull(gradient: Tensor, v: Tensor, norm: Tensor, radius: Tensor) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    A point on the sphere counts as one outside.
    """
    result = torch.empty(v.shape, dtype=v.dtype)
    source = array(gradient) if gradient.is_contiguous() else array(result.copy_(gradient))
    limits = np.maximum(totals(radius, np.inf), 0.0)
    over_rows(_pull, *v.shape, source, array(v), array(norm), limits, array(result))
    return result


@kernel
def _project(first: int, last: int, v: np.ndarray, radius: np.ndarray, y: np.ndarray, norm: np.ndarray) -> None:
    for i in range(first, last):
        x, limit = v[i], radius[i % len(radius)]
        norm[i] = norm_of(x)
        factor = y.dtype.type(limit / norm[i] if norm[i] >= limit and norm[i] > 0 else 1.0)
        for j in range(x.size):
            y[i, j] = factor * x[j]


@kernel
def _pull(
    first: int,
    last: int,
    gradient: np.ndarray,
    v: np.ndarray,
    norm: np.ndarray,
    radius: np.ndarray,
    result: np.ndarray,
) -> None:
    for i in range(first, last):
        limit, length = radius[i % len(radius)], v.dtype.type(norm[i] if norm[i] > 0 else 1.0)
        factor, along = v.dtype.type(1), v.dtype.type(0)
        if norm[i] >= limit:
            factor = v.dtype.type(limit / norm[i] if norm[i] > 0 else 0.0)
            along = v.dtype.type(dot(gradient[i], v[i], length))
        for j in range(v.shape[1]):
            result[i, j] = factor * (gradient[i, j] - along * (v[i, j] / length))
