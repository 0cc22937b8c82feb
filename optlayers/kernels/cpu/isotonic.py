"""Isotonic rows ``{y : y_1 <= ... <= y_n}``: the projection by pooling adjacent violators, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.arrays import array
from optlayers.kernels.cpu.compiled import kernel
from optlayers.kernels.cpu.threads import over_rows


def project(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection, and pools (Best and Chakravarti, "Active set algorithms for isotonic regression", 1990).

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.

    Returns
    -------
    y : Tensor, shape (rows, n)
    starts : Tensor of bool, shape (rows, n)
        Whether an entry is the first of a pool, whose entries share their mean.
    """
    y, starts = torch.empty(v.shape, dtype=v.dtype), torch.empty(v.shape, dtype=torch.bool)
    source = array(v) if v.is_contiguous() else array(y.copy_(v.detach()))
    over_rows(_project, *v.shape, source, array(y), array(starts))
    return y, starts


def pull(gradient: Tensor, starts: Tensor) -> Tensor:
    """Return the derivative of `project`, which is symmetric, times the gradient: its mean over each pool."""
    result = torch.empty(starts.shape, dtype=gradient.dtype)
    source = array(gradient) if gradient.is_contiguous() else array(result.copy_(gradient))
    over_rows(_pull, *starts.shape, source, array(starts), array(result))
    return result


@kernel
def _project(first: int, last: int, v: np.ndarray, y: np.ndarray, starts: np.ndarray) -> None:
    n = v.shape[1]
    mean, begin = np.empty(n, np.float64), np.empty(n + 1, np.int64)
    for i in range(first, last):
        pools = 0
        for j in range(n):
            mean[pools], begin[pools] = v[i, j], j
            pools += 1
            while pools > 1 and mean[pools - 2] >= mean[pools - 1]:
                size, other = j + 1 - begin[pools - 1], begin[pools - 1] - begin[pools - 2]
                mean[pools - 2] += (mean[pools - 1] - mean[pools - 2]) * (size / (size + other))
                pools -= 1
        begin[pools] = n
        for k in range(pools):
            for j in range(begin[k], begin[k + 1]):
                y[i, j], starts[i, j] = mean[k], j == begin[k]


@kernel
def _pull(first: int, last: int, gradient: np.ndarray, starts: np.ndarray, result: np.ndarray) -> None:
    n = starts.shape[1]
    for i in range(first, last):
        begin = 0
        while begin < n:
            end, total = begin + 1, np.float64(gradient[i, begin])
            while end < n and not starts[i, end]:
                total += gradient[i, end]
                end += 1
            mean = total / (end - begin)
            for j in range(begin, end):
                result[i, j] = mean
            begin = end
