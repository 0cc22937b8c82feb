"""Douglas-Rachford splitting with one factorisation for the whole batch: one matrix product a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.geometry import Geometry
from optlayers.solvers.problem import Problem

_RELAXATION = 1.6
_PENALTY = 4.0
_MOST_ROWS = 1000


@dataclass(frozen=True, eq=False)
class SplittingMap:
    """The affine half of the splitting, ``u -> argmin_s f(s) + gamma / 2 |s - u|^2`` with `f` the cost of the slacks.

    With ``x = K^-1 (v + gamma A' u)`` and ``K = 1 + gamma A' A`` that is ``s = A x``.

    Attributes
    ----------
    gamma : float
    matrix : Tensor, shape (slacks, slacks)
        ``gamma A K^-1 A'``, symmetric.
    source : Tensor, shape (n, slacks)
        ``K^-1 A'``.
    """

    gamma: float
    matrix: Tensor
    source: Tensor

    @staticmethod
    def of(geometry: Geometry, gamma: float = _PENALTY) -> SplittingMap | None:
        """Factor ``K`` for a geometry's rows; None where bounds are not among them, or there are too many."""
        rows = geometry.rows
        if geometry.original is None or not 0 < len(rows) <= _MOST_ROWS:
            return None
        identity = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        factor = torch.linalg.cholesky(identity + gamma * rows.mT @ rows)
        inverse = torch.cholesky_solve(rows.mT, factor)
        matrix = gamma * rows @ inverse
        return SplittingMap(gamma, (matrix + matrix.mT) / 2, inverse)

    def run(self, problem: Problem, z: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
        """Return slacks in their range and duals, both ``(samples, slacks)``, after some steps.

        The iteration is ``z += 1.6 (M (2 s - z) + q - s)`` with ``s = P(z)``, from the slacks of the points by default.
        """
        q = problem.v @ self.source
        z = problem.apply(problem.v) if z is None else z
        s = problem.nearest_slack(z)
        for _ in range(steps):
            move = torch.addmm(q, s.mul(2).sub_(z), self.matrix).sub_(s)
            z = z.add(move, alpha=_RELAXATION)
            s = problem.nearest_slack(z)
        return s, self.gamma * (s - z)
