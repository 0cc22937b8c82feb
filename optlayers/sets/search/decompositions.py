"""Decompositions of batches of matrices in which some entries may not be finite: the other matrices keep theirs."""

import torch
from torch import Tensor


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of symmetric matrices; eigenvalues are NaN where an entry is not finite."""
    finite = matrix.isfinite().all(-1).all(-1)
    values, vectors = torch.linalg.eigh(torch.where(finite[..., None, None], matrix, 0.0))
    return torch.where(finite.unsqueeze(-1), values, torch.nan), vectors


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thin singular value decomposition; singular values are NaN where an entry is not finite."""
    finite = matrix.isfinite().all(-1).all(-1)
    u, s, vh = torch.linalg.svd(torch.where(finite[..., None, None], matrix, 0.0), full_matrices=False)
    return u, torch.where(finite.unsqueeze(-1), s, torch.nan), vh
