"""Symmetric matrices as vectors: the lower triangle by columns, entries off the diagonal times sqrt(2).

So norms and inner products are kept. Vectors have ``k = n (n + 1) / 2`` entries.
"""

import math

import numpy as np
import torch
from torch import Tensor


def order_of(k: int) -> int:
    """Return `n`."""
    return math.isqrt(2 * k)


def triangle(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column of each entry of a vector."""
    column, row = np.triu_indices(n)
    return row, column


def triangle_like(n: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, columns and factors of the entries of a vector, the latter in the dtype of `like`."""
    column, row = torch.triu_indices(n, n, device=like.device)
    factor = torch.full(row.shape, 2**0.5, dtype=like.dtype, device=like.device)
    return row, column, factor.masked_fill(row == column, 1.0)


def to_matrix(vector: Tensor) -> Tensor:
    """Return the symmetric matrices ``(*batch, n, n)`` of vectors ``(*batch, k)``."""
    n = order_of(vector.shape[-1])
    row, column, factor = triangle_like(n, vector)
    index = torch.zeros(n, n, dtype=torch.long, device=vector.device)
    index[row, column] = index[column, row] = torch.arange(vector.shape[-1], device=vector.device)
    return (vector / factor)[..., index]


def to_vector(matrix: Tensor) -> Tensor:
    """Return the vectors ``(*batch, k)`` of symmetric matrices ``(*batch, n, n)``."""
    row, column, factor = triangle_like(matrix.shape[-1], matrix)
    return matrix[..., row, column] * factor
