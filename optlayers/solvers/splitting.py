"""Douglas-Rachford splitting with one factorisation for the whole batch: one matrix product a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.geometry import Geometry
from optlayers.solvers.problem import Problem
from optlayers.solvers.structure import Structure

_RELAXATION = 1.6
_PENALTY = 4.0
_MOST_ROWS = 1000
_AUXILIARY = 1e-8


@dataclass(frozen=True, eq=False)
class SplittingMap:
    """The affine half of the splitting: ``argmin_x 1/2 |x - v|^2 + gamma / 2 |A x - u|^2`` and its slacks.

    Attributes
    ----------
    gamma : Tensor, shape ()
    inverse : Tensor, shape (n, n)
        Of ``K = diag(weight) + gamma A' A``.
    step : Tensor, shape (slacks, slacks)
        ``2 r M - r``, where ``M = gamma A K^-1 A'`` takes `u` to slacks and `r` is the relaxation, 1.6.
    source : Tensor, shape (n, slacks)
        ``r diag(weight) K^-1 A'``: from `v` to slacks.
    """

    gamma: Tensor
    inverse: Tensor
    step: Tensor
    source: Tensor

    @staticmethod
    def of(geometry: Geometry, structure: Structure, gamma: float = _PENALTY) -> SplittingMap | None:
        """Factor ``K`` for a constant matrix; None with cones, without rows, or with too many."""
        if structure.cones or not 0 < structure.slacks <= _MOST_ROWS:
            return None
        reduction = geometry.reduction
        if reduction is None:
            rows = geometry.rows
            if structure.bounded:
                rows = torch.cat([torch.eye(structure.columns, dtype=rows.dtype, device=rows.device), rows])
        else:
            rows = reduction.rows
        if len(rows) == 0:
            return None
        weight = rows.new_ones(rows.shape[-1])
        if structure.auxiliary:
            weight[structure.size :] = 0.0
        shift = torch.where(weight > 0, weight, _AUXILIARY)
        factor = torch.linalg.cholesky(torch.diag(shift) + gamma * rows.mT @ rows)
        inverse = torch.cholesky_inverse(factor)
        step = 2 * gamma * rows @ inverse @ rows.mT
        step.diagonal().sub_(1.0)
        source = weight.unsqueeze(-1) * inverse @ rows.mT
        return SplittingMap(rows.new_tensor(gamma), inverse, _RELAXATION * step, _RELAXATION * source)

    def run(self, problem: Problem, z: Tensor | None, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return points ``(samples, n)``, slacks in their range and duals, both ``(samples, slacks)``.

        The iteration is ``z += r (M (2 s - z) + q - s)`` with ``s = P(z)``, from the slacks of the points by default
        (Douglas-Rachford; Eckstein and Bertsekas, "On the Douglas-Rachford splitting method", 1992); in terms of
        ``s - z / 2`` it takes four operations.
        """
        q = problem.v @ self.source
        z = problem.apply(problem.v) if z is None else z
        s = problem.nearest_slack(z)
        for _ in range(steps):
            z = torch.addmm(q, s.add_(z, alpha=-0.5), self.step).add_(z, alpha=1 - _RELAXATION / 2)
            s = problem.nearest_slack(z)
        y = self.gamma * (s - z)
        if problem.is_strong:
            return problem.v + problem.adjoint(y), s, y
        x = (problem.weight * problem.v + self.gamma * problem.adjoint(2 * s - z)) @ self.inverse
        return x, s, y
