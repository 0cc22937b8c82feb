"""Douglas-Rachford splitting with one factorisation for the whole batch: one matrix product a step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.active_set import active_set
from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.geometry import Geometry
from optlayers.solvers.iteration import Best, Iterate, Limits, Method
from optlayers.solvers.structure import Structure

_RELAXATION = 1.6
_PENALTY = 4.0
_MOST_ROWS = 1000
_AUXILIARY = 1e-8
_CLOSE = 0.2  # relative violation, from which Newton's method is worth a try
_ROUNDS = ((30, 3), (70, 4), (150, 4))  # steps of the splitting, then of Newton's method
_FEW, _ROUNDS_OF_FEW = 4, ((20, 3), (30, 3), (50, 4))  # samples for which both cost the same


@dataclass(frozen=True, eq=False)
class SplittingMap:
    """The affine half of the splitting: ``argmin_x 1/2 |x - v|^2 + gamma / 2 |A x - u|^2`` and its slacks.

    With ``K = diag(weight) + gamma A' A``, the matrix ``M = gamma A K^-1 A'`` takes `u` to slacks; gamma is 4.
    """

    inverse: Tensor  # (n, n), of `K`
    step: Tensor  # (slacks, slacks): ``2 r M - r``, where `r` is the relaxation, 1.6
    source: Tensor  # (n, slacks), ``r diag(weight) K^-1 A'``: from `v` to slacks

    @staticmethod
    def of(geometry: Geometry, structure: Structure) -> "SplittingMap | None":
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
        factor = torch.linalg.cholesky(torch.diag(shift) + _PENALTY * rows.mT @ rows)
        inverse = torch.cholesky_inverse(factor)
        step = 2 * _PENALTY * rows @ inverse @ rows.mT
        step.diagonal().sub_(1.0)
        source = weight.unsqueeze(-1) * inverse @ rows.mT
        return SplittingMap(inverse, _RELAXATION * step, _RELAXATION * source)

    def run(self, program: ConicProgram, z: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `z` after some steps ``z += r (M (2 s - z) + q - s)`` with ``s = P(z)``, the points, and the duals.

        In terms of ``s - z / 2`` a step takes four operations (Douglas-Rachford; Eckstein and Bertsekas, "On the
        Douglas-Rachford splitting method", 1992). It starts well at the slacks of the given points.
        """
        q = program.v @ self.source
        s = program.nearest_slack(z)
        for _ in range(steps):
            z = torch.addmm(q, s.add_(z, alpha=-0.5), self.step).add_(z, alpha=1 - _RELAXATION / 2)
            s = program.nearest_slack(z)
        y = _PENALTY * (s - z)
        if program.is_strong:
            return z, program.v + program.adjoint(y), y
        x = (program.weight * program.v + _PENALTY * program.adjoint(2 * s - z)) @ self.inverse
        return z, x, y


def splitting(program: ConicProgram, affine: SplittingMap, tolerance: float) -> Method:
    """From the given points, in rounds, each followed by Newton's method from the active set that it arrived at."""
    most = program.v.shape[-1] if program.is_strong and not program.box else None
    z = program.apply(program.v)
    for steps, newton in _ROUNDS if program.samples > _FEW else _ROUNDS_OF_FEW:
        z, x, y = affine.run(program, z, steps)
        ax = program.apply(x)
        close = (ax - z - y / _PENALTY).abs().amax(-1) <= _CLOSE * program.scale
        if most is not None:
            close = close & (((ax - y <= program.lower) | (ax - y >= program.upper)).sum(-1) <= most)
        chosen = close.nonzero().squeeze(-1)
        if len(chosen) == 0:
            return
        best = Best.of(program)
        best.run(
            program, chosen, lambda part, k, x=x, y=y: active_set(part, x[k], y[k], most), Limits(tolerance, newton)
        )
        keep = yield Iterate(best.x, best.y, best.error, steps=steps + best.steps)
        if keep is not None:
            program, z = program.select(keep), z[keep]
