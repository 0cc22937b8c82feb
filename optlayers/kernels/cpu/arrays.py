"""Tensors as the arrays that the row kernels take: in C order, sharing memory where that is possible."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from optlayers.kernels.cpu.blocks import LARGEST, is_uniform


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor's values in C order; its own memory where it has no gaps."""
    return tensor.detach().contiguous().resolve_neg().numpy()


def bits(numbers: np.ndarray) -> np.ndarray:
    """Return the bits of floating-point numbers as integers, in the same memory."""
    return numbers.view(np.int32 if numbers.itemsize == 4 else np.int64)


def data(tensor: Tensor | None, absent: float, like: np.ndarray) -> np.ndarray:
    """Return rows of data, ``(rows, n)``; one block where they are uniform, which then stays in the nearest cache."""
    n = like.shape[1]
    if tensor is None:
        return np.full((1, min(n, LARGEST)), absent, like.dtype)
    result = array(tensor)
    uniform = len(result) == 1 and n > LARGEST and is_uniform(bits(result[0]))
    return result[:, :LARGEST].copy() if uniform else result


def totals(tensor: Tensor | None, absent: float) -> np.ndarray:
    """Return one number for each row of data, in double precision."""
    return np.full(1, absent) if tensor is None else array(tensor).astype(np.float64)


def is_positive(numbers: np.ndarray) -> bool:
    """Return whether all numbers are positive, and large enough that products of two such numbers do not vanish."""
    return bool(numbers.min(initial=np.inf) > np.sqrt(np.finfo(numbers.dtype).tiny))
