"""Affine sets: several linear equations."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from optlayers.parametric.range import relative
from optlayers.parametric.symbolic import Affine, stack
from optlayers.recognition.block import Block, Fields
from optlayers.sets.base import Check, ClosedFormSet, Examples, register


@register
@dataclass(frozen=True, eq=False)
class AffineSet(ClosedFormSet):
    """``{y : A y = b}`` for a constant matrix of any rank, at least two rows.

    Attributes
    ----------
    basis : Tensor, shape (r, n)
        Orthonormal rows that span the rows of `A`.
    coordinates : Tensor, shape (*batch, r)
        ``basis @ y`` for the least-squares solutions of the equations.
    right, mismatch : Tensor, shape (*batch, m), (*batch, m - r), or None
        `b`; by how much each dependent equation contradicts those that it depends on.
    """

    name = "affine set"
    basis: Tensor
    coordinates: Tensor
    right: Tensor
    mismatch: Tensor | None

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, right: Any) -> list[cp.Constraint]:
        return [matrix @ x == right]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        """Factor the equations once: a QR decomposition with column pivoting finds basis and dependent rows."""
        if len(block.rows) < 2 or block.cones or block.auxiliary or block.has_bounds:
            return None
        if not all(row.is_equality and row.normal.is_constant for row in block.rows):
            return None
        right = stack([row.range.value for row in block.rows])
        matrix, length = _unit_rows(block)
        right = right.scaled(1 / length)
        basis, combination, dependent = _factor(matrix)
        mismatch = None
        if len(dependent):
            mismatch = right[dependent] - right.mapped(combination)
        return {
            "basis": Affine.of(basis, block.parameters),
            "coordinates": right.mapped(np.linalg.pinv(matrix @ basis.T)),
            "right": right,
            "mismatch": mismatch,
        }

    def project(self, v: Tensor) -> Tensor:
        """Subtract the component outside; and once more, without gradient, for the rounding of the first time."""
        y = v - self._outside(v)
        return y - self._outside(y.detach()).detach()

    def _outside(self, v: Tensor) -> Tensor:
        excess = torch.einsum("...rn,...n->...r", self.basis, v) - self.coordinates
        return torch.einsum("...rn,...r->...n", self.basis, excess)

    def checks(self) -> list[Check]:
        if self.mismatch is None:
            return []
        return [Check(relative(self.mismatch.abs(), self.right.abs().amax(-1, keepdim=True)), _dependent_sources)]

    @staticmethod
    def examples() -> Examples:
        matrix = np.array([[1.0, 2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 1.0, 3.0, -2.0], [2.0, 0.0, 1.0, 1.0, 1.0]])
        right = np.array([1.0, -2.0, 0.5])
        yield {"size": (5,), "matrix": matrix, "right": right, "fixed": ("matrix",)}
        yield {"size": (5,), "matrix": matrix * [[1e-3], [1.0], [1e4]], "right": right, "fixed": ("matrix",)}
        twice = np.concatenate([matrix, matrix[:1] + matrix[1:2]])
        yield {"size": (5,), "matrix": twice, "right": np.append(right, -1.0), "fixed": ("matrix", "right")}


def _unit_rows(block: Block) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.stack([row.normal.constant for row in block.rows])
    length = np.linalg.norm(matrix, axis=1)
    return matrix / length[:, None], length


def _dependent_sources(block: Block) -> list[set[int]]:
    """Return, for each dependent equation, the user's constraints that it and those that it depends on come from."""
    _, combination, dependent = _factor(_unit_rows(block)[0])
    return [
        set().union(*(block.rows[k].sources for k in (row, *np.flatnonzero(np.abs(weights) > 1e-9))))
        for row, weights in zip(dependent, combination, strict=True)
    ]


def _factor(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an orthonormal basis of the rows, the dependent rows as combinations of all rows, and which they are."""
    factors: Any = scipy.linalg.qr(matrix.T, mode="economic", pivoting=True)
    q, r, order = factors
    diagonal = np.abs(np.diag(r))
    rank = int((diagonal > max(matrix.shape) * np.finfo(float).eps * diagonal[0]).sum())
    dependent = order[rank:]
    combination = np.zeros((len(dependent), len(matrix)))
    combination[:, order[:rank]] = scipy.linalg.solve_triangular(r[:rank, :rank], r[:rank, rank:]).T
    return q[:, :rank].T, combination, dependent
