"""Isotonic regression of rows with a stack of blocks, O(n) each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.rows import for_rows


def project(v: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``argmin_y sum(weight * (y - v)^2)`` over nondecreasing `y`, and the first entry of each entry's block.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        float32 or float64; sums are float64.
    weight : Tensor, shape (rows, n) or (1, n), or None (ones)
        Positive.
    """
    y, starts = torch.empty(v.shape, dtype=v.dtype), torch.empty(v.shape, dtype=torch.int64)
    weight = v.new_ones(len(v), 1) if weight is None else weight.to(v.dtype).expand(len(v), -1)
    for_rows(_pool, *(t.contiguous().numpy() for t in (v, weight)), y.numpy(), starts.numpy())
    return y, starts


def _pool(v: np.ndarray, weight: np.ndarray, y: np.ndarray, starts: np.ndarray) -> None:
    """Push each entry; while the block below is not smaller, merge. Then refine each mean by that of the rest."""
    rows, n = v.shape
    unit = weight.shape[1] == 1
    mean, mass, first = np.empty(n), np.empty(n), np.empty(n + 1, dtype=np.int64)
    for r in range(rows):
        top = -1
        for i in range(n):
            m, w, f = float(v[r, i]), 1.0 if unit else float(weight[r, i]), i
            while top >= 0 and mean[top] >= m:
                w += mass[top]
                m += (mean[top] - m) * (mass[top] / w)
                f = first[top]
                top -= 1
            top += 1
            mean[top], mass[top], first[top] = m, w, f
        first[top + 1] = n
        for k in range(top + 1):
            rest = 0.0
            for i in range(first[k], first[k + 1]):
                rest += (v[r, i] - mean[k]) * (1.0 if unit else weight[r, i])
            for i in range(first[k], first[k + 1]):
                y[r, i] = mean[k] + rest / mass[k]
                starts[r, i] = first[k]
