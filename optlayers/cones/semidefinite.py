"""The cone of positive semidefinite matrices, as vectors of dimension ``k = n (n + 1) / 2``.

Vectors are those of `triangle`. The derivative is that of Malick and Sendov, "Clarke generalized Jacobian of the
projection onto the cone of positive semidefinite matrices", 2006: divided differences of the positive part of the
eigenvalues.
"""

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.cones.triangle import to_matrix, to_vector, triangle_like


def project(z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``, without derivatives."""
    values, vectors = torch.linalg.eigh(to_matrix(primal(z)))
    return to_vector((vectors * values.clamp_min(0.0).unsqueeze(-2)) @ vectors.mT)


def member(z: Tensor) -> Tensor:
    """Return `project`, differentiable once; the derivative is that of `jacobian`, at repeated eigenvalues too."""
    values, vectors = torch.linalg.eigh(to_matrix(primal(z)))
    rotated = vectors.mT @ to_matrix(z) @ vectors
    return to_vector(vectors @ (_slopes(values) * rotated) @ vectors.mT)


def jacobian(z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, without derivatives.

    It is ``T diag(slopes) T'``, where the columns of `T` are the vectors of ``(v_i v_j' + v_j v_i') / sqrt(2)`` and of
    ``v_i v_i'``, the `v_i` being eigenvectors.
    """
    values, vectors = torch.linalg.eigh(to_matrix(primal(z)))
    row, column, factor = triangle_like(values.shape[-1], values)
    at_row, at_column = vectors[..., row, :], vectors[..., column, :]
    products = at_row[..., row] * at_column[..., column] + at_row[..., column] * at_column[..., row]
    # for entries, factors are those of vectors; for pairs, half of them
    slopes = _slopes(values)[..., row, column]
    columns = products * factor.unsqueeze(-1) * (factor / 2 * slopes.sqrt()).unsqueeze(-2)
    return columns @ columns.mT


def _slopes(values: Tensor) -> Tensor:
    """Return the divided differences of the positive part: 1 for two positive eigenvalues, 0 for two negative ones."""
    positive, size = values.clamp_min(0.0), values.abs()
    total = size.unsqueeze(-1) + size.unsqueeze(-2)
    return (positive.unsqueeze(-1) + positive.unsqueeze(-2)) / torch.where(total > 0, total, 1.0)
