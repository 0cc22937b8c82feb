"""Principal axes of a quadratic form ``||F y||^2 - (a @ y)^2``, and coordinates along them."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

_ROUNDING = 1e-14


def principal_axes(tail: sp.csr_array, head: np.ndarray) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """Return eigenvalues and eigenvectors (rows) of ``S = tail' tail - head head'``, and the size of each one's part.

    Entries that `S` does not couple are eigenvectors; what it couples is decomposed by singular values, which are
    accurate where their squares would not be.
    """
    rows = sp.csr_array(sp.vstack([sp.csr_array(head[None]), tail]))
    signs = sp.diags_array(np.where(np.arange(len(rows.indptr) - 1) == 0, -1.0, 1.0))
    form, size = sp.csr_array(rows.T @ signs @ rows), sp.csr_array(abs(rows).T @ abs(rows))
    form = sp.csr_array(form.multiply(abs(form) > _ROUNDING * size))
    count, label = connected_components(form, directed=False)
    values, scale = form.diagonal(), np.abs(form.diagonal())
    coupled = np.flatnonzero(np.bincount(label, minlength=count) > 1)
    vectors: Any = sp.eye_array(len(head), format="lil" if len(coupled) else "csr")
    for component in coupled:
        entries = np.flatnonzero(label == component)
        values[entries], basis, scale[entries] = _principal_dense(tail[:, entries].toarray(), head[entries])
        vectors[np.ix_(entries, entries)] = basis
    return values, sp.csr_array(vectors), scale


def _principal_dense(tail: np.ndarray, head: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues, eigenvectors (rows), and the size of what cancelled in each eigenvalue.

    Only what the head is not orthogonal to is not that of the tail.
    """
    n = len(head)
    factors: Any = np.linalg.svd(tail, full_matrices=True)
    singular, basis = np.zeros(n), factors[2]
    singular[: len(factors[1])] = factors[1]
    null = singular <= max(tail.shape) * np.finfo(float).eps * singular.max()
    singular[null] = 0.0
    if null.any():
        basis[null] = align(basis[null], head)
    inside = basis @ head
    inside[np.abs(inside) <= _ROUNDING * n * np.linalg.norm(head)] = 0.0
    values, mixed = singular**2, np.flatnonzero(inside)
    scale = values + inside**2
    if len(mixed) == 1:
        values[mixed] -= inside[mixed] ** 2
    elif len(mixed):
        eigenvalues, rotation = np.linalg.eigh(np.diag(values[mixed]) - np.outer(inside[mixed], inside[mixed]))
        values[mixed], basis[mixed], scale[mixed] = eigenvalues, rotation.T @ basis[mixed], scale[mixed].max()
    return values, basis, scale


def solve_on_axes(values: np.ndarray, vectors: sp.csr_array, right: Any) -> Any:
    """Return the pseudo-inverse of the matrix with these eigenvalues and eigenvectors (rows), times `right`."""
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)
    return vectors.T @ (sp.diags_array(inverse) @ (vectors @ right))


def align(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Turn orthonormal rows among themselves so that all but the first one are orthogonal to the direction."""
    inside = vectors @ direction
    if not inside.any():
        return vectors
    rotation: Any = np.linalg.qr(np.column_stack([inside, np.eye(len(inside))]))[0]
    return rotation.T @ vectors


def coordinates(axes: Tensor | None, offset: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return coordinates along the axes, what is orthogonal to all of them, and the squares of all coordinates."""
    if axes is None:
        return offset, None, offset.square()
    z = torch.einsum("...rn,...n->...r", axes, offset)
    rest = offset - torch.einsum("...rn,...r->...n", axes, z)
    return z, rest, torch.cat([z.square(), rest.square().sum(-1, keepdim=True)], -1)


def combine(axes: Tensor | None, z: Tensor, rest: Tensor | None, factors: Tensor) -> Tensor:
    """Return the point with the coordinates along the axes, and the factor of what is orthogonal to them."""
    if axes is None or rest is None:
        return z
    return torch.einsum("...rn,...r->...n", axes, z) + rest * factors[..., -1:]
