"""Isotonic regression of rows with a stack of blocks, O(n) each, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.arrays import array
from optlayers.kernels.cpu.compiled import exact_kernel
from optlayers.kernels.cpu.threads import over_rows


def project(v: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``argmin_y sum(weight * (y - v)^2)`` over nondecreasing `y`, and the first entry of each entry's block.

    Best and Chakravarti, "Active set algorithms for isotonic regression; a unifying framework", 1990.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        float32 or float64; sums are float64.
    weight : Tensor, shape (rows or a divisor, n), or None (ones)
        Positive.
    """
    y, starts = torch.empty(v.shape, dtype=v.dtype), torch.empty(v.shape, dtype=torch.int64)
    source = array(v) if v.is_contiguous() else array(y.copy_(v.detach()))
    over_rows(_project, *v.shape, source, _weights(weight, v), array(y), array(starts))
    return y, starts


def pull(gradient: Tensor, starts: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the gradient of the point: the sum over each block, in the shares that its entries have of its weight."""
    result = torch.empty(gradient.shape, dtype=gradient.dtype)
    source = array(gradient) if gradient.is_contiguous() else array(result.copy_(gradient))
    over_rows(_pull, *gradient.shape, source, array(starts), _weights(weight, gradient), array(result))
    return result


def _weights(weight: Tensor | None, like: Tensor) -> np.ndarray:
    """Return rows of weights, of one entry where all are one."""
    return np.ones((1, 1), array(like[:0]).dtype) if weight is None else array(weight.to(like.dtype))


@exact_kernel
def _project(first: int, last: int, v: np.ndarray, weights: np.ndarray, y: np.ndarray, starts: np.ndarray) -> None:
    """Push each entry; while the block below is not smaller, merge. Then refine each mean by that of the rest."""
    n, unit = v.shape[1], weights.shape[1] == 1
    mean, mass, begin = np.empty(n), np.empty(n), np.empty(n + 1, dtype=np.int64)
    for r in range(first, last):
        weight, top = weights[r % len(weights)], -1
        for i in range(n):
            m, w, f = float(v[r, i]), 1.0 if unit else float(weight[i]), i
            while top >= 0 and mean[top] >= m:
                w += mass[top]
                m += (mean[top] - m) * (mass[top] / w)
                f = begin[top]
                top -= 1
            top += 1
            mean[top], mass[top], begin[top] = m, w, f
        begin[top + 1] = n
        for k in range(top + 1):
            rest = 0.0
            for i in range(begin[k], begin[k + 1]):
                rest += (v[r, i] - mean[k]) * (1.0 if unit else weight[i])
            value = mean[k] + rest / mass[k]
            for i in range(begin[k], begin[k + 1]):
                y[r, i] = value
                starts[r, i] = begin[k]


@exact_kernel
def _pull(
    first: int, last: int, gradient: np.ndarray, starts: np.ndarray, weights: np.ndarray, result: np.ndarray
) -> None:
    n, unit = starts.shape[1], weights.shape[1] == 1
    for r in range(first, last):
        weight, begin = weights[r % len(weights)], 0
        while begin < n:
            end, total, mass = begin, 0.0, 0.0
            while end < n and starts[r, end] == begin:
                total += gradient[r, end]
                mass += 1.0 if unit else weight[end]
                end += 1
            for i in range(begin, end):
                result[r, i] = total / mass * (1.0 if unit else weight[i])
            begin = end
