"""What can be computed once of a constant matrix: row scaling, equalities eliminated, the map of the splitting."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from optlayers.solvers.conic_program import split_cones
from optlayers.solvers.structure import Structure, cone_slacks

_DEPENDENT = 1e-10
_MOST_GRAM = 1000  # rows
_VANISHING = 1e-11  # relative; a row this small after the elimination is implied by the equalities


def row_norms(matrix: Tensor, structure: Structure) -> Tensor:
    """Return the scale of each row, ``(*batch, m)``: its length, and for a cone's rows the largest of them."""
    lengths = _lengths(matrix, structure)
    return torch.where(lengths > 0, lengths, 1.0)


def _lengths(rows: Tensor, structure: Structure) -> Tensor:
    lengths = torch.linalg.vector_norm(rows, dim=-1)
    parts = [lengths[..., : lengths.shape[-1] - cone_slacks(structure.cones)]]
    for _, _, cone in split_cones(lengths, structure.cones):
        parts.append(cone.amax(-1, keepdim=True).expand_as(cone).flatten(-2))
    return torch.cat(parts, -1)


@dataclass(frozen=True, eq=False)
class Reduction:
    """Coordinates `w` in which the equalities ``E x = e`` hold: ``x = particular e + basis w``."""

    rows: Tensor  # (k, d): unit rows in `w` of all slacks that are no equalities, those of bounded entries included
    original: Tensor  # (k, n): the same slacks' rows in `x`
    lengths: Tensor  # (k,): by what those were divided; infinite for slacks that the equalities determine
    kept: Tensor  # (k,): the places of these slacks among all
    equal: Tensor  # (p,): the places of the equalities among all
    basis: Tensor  # (n, d); not used where there are no equalities: the coordinates are those of `x` then
    particular: Tensor  # (n, p); the same
    gram: Tensor  # (k, k), ``rows rows'``; empty where it would be large

    @property
    def is_identity(self) -> bool:
        """Whether there are no equalities."""
        return self.equal.shape[0] == 0


@dataclass(frozen=True, eq=False)
class Geometry:
    """A constant matrix."""

    norms: Tensor  # (m,): the scale of each row
    rows: Tensor  # (m, n): the matrix, its rows divided by their scale
    reduction: Reduction | None  # where that makes the linear algebra cheaper

    @staticmethod
    def of(matrix: Tensor, structure: Structure) -> "Geometry":
        """Scale a matrix ``(m, n)``, and eliminate the equalities."""
        norms = row_norms(matrix, structure)
        rows = matrix / norms.unsqueeze(-1)
        return Geometry(norms, rows, _reduce(rows, structure) if _is_worthwhile(structure) else None)

    @staticmethod
    def unreduced(matrix: Tensor, norms: Tensor) -> "Geometry":
        """Scale matrices ``(*batch, m, n)``, one for each sample or with derivatives, by `row_norms`."""
        return Geometry(norms, matrix / norms.unsqueeze(-1), None)


def _reduce(matrix: Tensor, structure: Structure) -> Reduction:
    n, count, device = structure.columns, len(structure.bounded), matrix.device
    equal = torch.tensor(structure.equalities, dtype=torch.int64, device=device)
    other = torch.ones(len(matrix), dtype=torch.bool, device=device)
    other[equal] = False
    original = torch.cat([torch.eye(n, dtype=matrix.dtype, device=device)[list(structure.bounded)], matrix[other]])
    kept = torch.cat([torch.arange(count, device=device), count + other.nonzero().squeeze(-1)])
    if len(equal) == 0:
        nothing = original.new_zeros(n, 0)
        return Reduction(
            original, original, torch.ones_like(original[:, 0]), kept, equal, nothing, nothing, _gram(original)
        )
    basis, particular = _solve_equalities(matrix[equal])
    rows = original @ basis
    lengths = _lengths(rows, structure)
    is_linear = torch.arange(len(rows), device=device) < len(rows) - cone_slacks(structure.cones)
    lengths = lengths.where(lengths > _VANISHING, torch.where(is_linear, torch.inf, _VANISHING).to(lengths.dtype))
    rows = rows / lengths.unsqueeze(-1)
    return Reduction(rows, original, lengths, kept, count + equal, basis, particular, _gram(rows))


def _gram(rows: Tensor) -> Tensor:
    return rows @ rows.mT if len(rows) <= _MOST_GRAM else rows.new_zeros(0, 0)


def _solve_equalities(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis of the kernel of unit rows, and a generalised inverse that ignores dependent rows.

    The diagonal of the QR factor holds the distance of each row from the span of those before it, up to the first that
    is no farther than `_DEPENDENT`; rows are then taken in the order of pivoting, the farthest first.
    """
    q, r = torch.linalg.qr(matrix.mT, mode="complete")
    kept = torch.arange(len(matrix), device=matrix.device)
    if len(matrix) > matrix.shape[-1] or bool((r.diagonal().abs() <= _DEPENDENT).any()):
        pivoted, order = cast(Any, scipy.linalg.qr(matrix.mT.cpu().numpy(), mode="r", pivoting=True))
        rank = int((np.abs(np.diagonal(pivoted)) > _DEPENDENT).sum())
        kept = torch.as_tensor(np.sort(order[:rank]), device=matrix.device)
        q, r = torch.linalg.qr(matrix[kept].mT, mode="complete")
    rank = len(kept)
    inverse = torch.zeros_like(matrix.mT)
    inverse[:, kept] = torch.linalg.solve_triangular(r[:rank], q[:, :rank].mT, upper=True).mT
    return q[:, rank:].contiguous(), inverse


def _is_worthwhile(structure: Structure) -> bool:
    """Compare the costs of a factorisation after the elimination, bounds as rows, and without, bounds as a diagonal."""
    if structure.auxiliary:
        return False
    if structure.cones:
        return bool(structure.equalities)
    n, m, p = structure.columns, structure.matrix_rows, len(structure.equalities)
    slacks, left = structure.slacks - p, max(n - p, 0)
    reduced = _cost(slacks, left)
    return reduced <= 2 * _cost(m, n) or max(slacks, left) <= 64


def _cost(rows: int, columns: int) -> float:
    small, large = sorted((rows, columns))
    return small**2 * large + small**3 / 3
