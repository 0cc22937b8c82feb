"""The cone of positive semidefinite matrices, as vectors of dimension ``k = n (n + 1) / 2``.

A vector is the lower triangle of the matrix by columns, with the entries off the diagonal times sqrt(2), so that norms
are kept. The derivative is that of Malick and Sendov, "Clarke generalized Jacobian of the projection onto the cone of
positive semidefinite matrices", 2006: divided differences of the positive part of the eigenvalues.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.autograd.primal import primal


def project(z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``, without derivatives.

    Parameters
    ----------
    z : Tensor, shape (*batch, k)

    Returns
    -------
    Tensor, shape (*batch, k)
    """
    values, vectors = torch.linalg.eigh(_matrix(primal(z)))
    return _vector((vectors * values.clamp_min(0.0).unsqueeze(-2)) @ vectors.mT)


def member(z: Tensor) -> Tensor:
    """Return `project`, differentiable once; the derivative is that of `jacobian`, at repeated eigenvalues too.

    Parameters
    ----------
    z : Tensor, shape (*batch, k)

    Returns
    -------
    Tensor, shape (*batch, k)
    """
    values, vectors = torch.linalg.eigh(_matrix(primal(z)))
    rotated = vectors.mT @ _matrix(z) @ vectors
    return _vector(vectors @ (_slopes(values) * rotated) @ vectors.mT)


def jacobian(z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, without derivatives.

    It is ``T diag(slopes) T'``, where the columns of `T` are the vectors of ``(v_i v_j' + v_j v_i') / sqrt(2)`` and of
    ``v_i v_i'``, the `v_i` being eigenvectors.

    Parameters
    ----------
    z : Tensor, shape (*batch, k)

    Returns
    -------
    Tensor, shape (*batch, k, k)
    """
    values, vectors = torch.linalg.eigh(_matrix(primal(z)))
    row, column, factor = _triangle(values.shape[-1], values)
    at_row, at_column = vectors[..., row, :], vectors[..., column, :]
    products = at_row[..., row] * at_column[..., column] + at_row[..., column] * at_column[..., row]
    # for entries, factors are those of vectors; for pairs, half of them
    slopes = _slopes(values)[..., row, column]
    columns = products * factor.unsqueeze(-1) * (factor / 2 * slopes.sqrt()).unsqueeze(-2)
    return columns @ columns.mT


def _matrix(z: Tensor) -> Tensor:
    """Return the symmetric matrix of a vector, ``(*batch, n, n)``."""
    n = int((2 * z.shape[-1]) ** 0.5)
    row, column, factor = _triangle(n, z)
    place = torch.zeros(n, n, dtype=torch.long, device=z.device)
    place[row, column] = place[column, row] = torch.arange(z.shape[-1], device=z.device)
    return (z / factor)[..., place]


def _vector(matrix: Tensor) -> Tensor:
    """Return the vector of a symmetric matrix."""
    row, column, factor = _triangle(matrix.shape[-1], matrix)
    return matrix[..., row, column] * factor


def _triangle(n: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, columns and factors of the entries of a vector, the latter in the dtype of `like`."""
    column, row = torch.triu_indices(n, n, device=like.device)
    factor = torch.full(row.shape, 2**0.5, dtype=like.dtype, device=like.device)
    return row, column, factor.masked_fill(row == column, 1.0)


def _slopes(values: Tensor) -> Tensor:
    """Return the divided differences of the positive part: 1 for two positive eigenvalues, 0 for two negative ones."""
    positive, size = values.clamp_min(0.0), values.abs()
    total = size.unsqueeze(-1) + size.unsqueeze(-2)
    return (positive.unsqueeze(-1) + positive.unsqueeze(-2)) / torch.where(total > 0, total, 1.0)
