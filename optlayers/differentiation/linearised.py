"""The KKT equations of a set with cones or auxiliary entries, linearised at a solution."""

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.solvers.augmented_lagrangian import hessian, normal_maps, normal_part
from optlayers.solvers.conic_program import ConicProgram, split_cones
from optlayers.solvers.normal_equations import back_substitute, factorise

_WEAK = 1e-9  # relative; duals of cones up to this size are zero
_PENALTY = 1e4
_PROXIMAL_STEPS = 6
_AUXILIARY = 1e-6
_MOST_ROWS = 400  # of a system that is eliminated
_SINGULAR = 1e-11  # relative size of a pivot


class Linearised:
    """Solves ``weight dx - A' dy = r, A dx - D u = t`` for ``dx``, with ``dy = -penalty (1 - D) u``.

    `D` is the derivative of the projection of slacks at ``s - y / penalty``: 0 where slacks are active, 1 elsewhere,
    and those of the cones. Small systems are eliminated as they are. Singular and large ones go by the proximal method
    of multipliers, whose steps have one factorisation of positive definite matrices.
    """

    def __init__(self, program: ConicProgram, active: Tensor, s: Tensor, y: Tensor) -> None:
        self.program, self.active, self.s, self.y = program, active, s, y

    def solve(self, r: Tensor, t: Tensor) -> Tensor:
        """Return ``dx``, ``(samples, n)``, linear in ``(r, t)``."""
        if r.shape[-1] + t.shape[-1] > _MOST_ROWS:
            return self._by_multipliers(r, t)
        dx, singular = self._by_elimination(r, t)
        if not is_traced() and not bool(singular.any()):
            return dx
        return torch.where(singular, self._by_multipliers(r, t), dx)

    def _by_elimination(self, r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        program, n = self.program, r.shape[-1]
        normals = self._normals(1.0)
        rows = program.rows.expand(r.shape[0], -1, -1)
        if program.box:
            rows = torch.cat([torch.eye(n, dtype=r.dtype, device=r.device).expand(r.shape[0], n, n), rows], 1)
        normal = torch.diag_embed(self.active.to(r.dtype))
        start = program.linear
        for group in normals:
            for k in range(group.shape[1]):
                stop = start + group.shape[-1]
                normal[:, start:stop, start:stop] = group[:, k]
                start = stop
        identity = torch.eye(t.shape[-1], dtype=r.dtype, device=r.device)
        weight = torch.diag(program.weight).expand(r.shape[0], n, n)
        upper = torch.cat([weight, rows.mT @ normal], -1)
        lower = torch.cat([rows, normal - identity], -1)
        matrix, right = torch.cat([upper, lower], -2), torch.cat([r, t], -1).unsqueeze(-1)
        factor, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        diagonal = factor.detach().diagonal(dim1=-2, dim2=-1).abs()
        singular = (diagonal.amin(-1) <= _SINGULAR * diagonal.amax(-1)).unsqueeze(-1)
        if not is_traced() and not bool(singular.any()):
            return torch.linalg.lu_solve(factor, pivots, right).squeeze(-1)[:, :n], singular
        # no derivative may go through a singular factor; `vmap` of solves in forward mode mixes samples up
        identity = torch.eye(matrix.shape[-1], dtype=r.dtype, device=r.device)
        matrix = torch.where(singular.unsqueeze(-1), identity, matrix)
        inverse = torch.linalg.inv_ex(matrix).inverse
        solution = inverse @ right
        solution = solution + inverse @ (right - matrix @ solution)
        return solution.squeeze(-1)[:, :n], singular

    def _by_multipliers(self, r: Tensor, t: Tensor) -> Tensor:
        program, normals = self.program, self._normals(_PENALTY)
        shift = torch.where(program.weight > 0, 0.0, _AUXILIARY)
        penalty = torch.full_like(r[:, :1], _PENALTY).detach()
        factor = factorise(hessian(program, self.active, normals, penalty, shift))

        def pull(dx: Tensor, dy: Tensor) -> Tensor:
            return normal_part(program, self.active, normals, penalty * (t - program.apply(dx)) + dy)

        dx, dy, center = torch.zeros_like(r), torch.zeros_like(t), torch.zeros_like(r)
        for _ in range(_PROXIMAL_STEPS):
            rest = r - program.weight * dx - shift * (dx - center) + program.adjoint(pull(dx, dy))
            dx = dx + back_substitute(factor, rest)
            dy, center = pull(dx, dy), dx
        return dx

    def _normals(self, penalty: float) -> list[Tensor]:
        """Return ``1 - D`` of the cones; zero for those without dual, which hold nothing."""
        program = self.program
        normals = normal_maps(program, self.s - self.y / penalty)
        weak = _WEAK * program.scale.detach().reshape(-1, 1, 1, 1)
        for k, (_, _, cone) in enumerate(split_cones(self.y, program.cones)):
            normals[k] = torch.where(cone.abs().amax(-1)[..., None, None] > weak, normals[k], 0.0)
        return normals
