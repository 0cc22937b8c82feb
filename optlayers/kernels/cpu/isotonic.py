"""Isotonic regression of rows with a stack of blocks, O(n) each, and its derivative."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import array, given, points, run


def project(v: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``argmin_y sum(weight * (y - v)^2)`` over nondecreasing `y`, and the first entry of each entry's block.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        float32 or float64; sums are float64.
    weight : Tensor, shape (rows or a divisor, n), or None (ones)
        Positive.
    """
    y, starts = torch.empty(v.shape, dtype=v.dtype), torch.empty(v.shape, dtype=torch.int64)
    run("isotonic", y, points(v, y), given(weight, y), y, starts)
    return y, starts


def pull(gradient: Tensor, starts: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the gradient of the point: the sum over each block, in the shares that its entries have of its weight."""
    result = torch.empty(gradient.shape, dtype=gradient.dtype)
    run("isotonic_pull", result, points(gradient, result), array(starts, starts), given(weight, result), result)
    return result
