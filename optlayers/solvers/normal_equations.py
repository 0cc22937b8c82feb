"""The linear system of every Newton step, reduced to the smaller of its primal and dual normal equations."""

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.solvers.conic_program import ConicProgram

_WELL_CONDITIONED = 0.1  # pivots of unit rows


class NormalEquations:
    """Solves ``weight dx - A' dy = r`` and ``theta A dx + dy = g`` by one Cholesky factorisation a sample.

    The primal form factors ``diag(weight) + A' diag(theta) A``. The dual form, taken where the matrix has fewer rows
    than columns and every entry has a weight, factors ``1 + D A diag(weight)^-1 A' D`` with ``D = theta^(1/2)``; it is
    the stable one of the two forms of Woodbury's identity, because it finds the duals first. Weights of slacks,
    `theta`, are nonnegative, ``(samples, slacks)``; a `shift` is added to those of entries.
    """

    def __init__(self, program: ConicProgram, theta: Tensor, shift: Tensor | float = 0.0) -> None:
        self.program, self.theta = program, theta
        n = program.v.shape[-1]
        m = program.rows.shape[-2]
        of_rows = theta[:, n:] if program.box else theta
        self.diagonal = (program.weight + shift).expand_as(program.v)
        if program.box:
            self.diagonal = self.diagonal + theta[:, :n]
        self.is_dual = m < n and program.is_strong
        self.root = of_rows.sqrt()
        rows = program.rows
        if self.is_dual:
            left = rows / self.diagonal.unsqueeze(-2) if program.box else rows / self.diagonal[0]
            matrix = left @ rows.mT
            matrix = self.root.unsqueeze(-1) * matrix * self.root.unsqueeze(-2)
            matrix.diagonal(dim1=-2, dim2=-1).add_(1.0)
        else:
            matrix = (rows.mT * of_rows.unsqueeze(-2)) @ rows
            matrix.diagonal(dim1=-2, dim2=-1).add_(self.diagonal)
        self.factor = factorise(matrix)

    def solve(self, r: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(dx, dy)``, refined once."""
        dx, dy = self._solve(r, g)
        program = self.program
        more_r = r - self.diagonal * dx + program.adjoint(dy)
        if program.box:
            more_r = more_r + self.theta[:, : dx.shape[-1]] * dx
        more_g = g - self.theta * program.apply(dx) - dy
        more_x, more_y = self._solve(more_r, more_g)
        return dx + more_x, dy + more_y

    def _solve(self, r: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        program = self.program
        n = program.v.shape[-1]
        if not self.is_dual:
            dx = back_substitute(self.factor, r + program.adjoint(g))
            return dx, g - self.theta * program.apply(dx)
        of_rows = g
        if program.box:
            r, of_rows = r + g[:, :n], g[:, n:]
        first = program.times(r / self.diagonal)
        right = torch.where(self.root > 0, of_rows / self.root, 0.0) - self.root * first
        dy = self.root * back_substitute(self.factor, right)
        dx = (r + program.transposed_times(dy)) / self.diagonal
        return dx, torch.cat([g[:, :n] - self.theta[:, :n] * dx, dy], -1) if program.box else dy


def factorise(matrix: Tensor) -> Tensor:
    """Return Cholesky factors; matrices that rounding made indefinite get a small multiple of the identity."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not is_traced() and bool(info.any()):
        size = matrix.diagonal(dim1=-2, dim2=-1).amax(-1)
        for power in (1e-14, 1e-12, 1e-10, 1e-8):
            shifted = matrix + torch.diag_embed((power * size).unsqueeze(-1).expand(*size.shape, matrix.shape[-1]))
            again, bad = torch.linalg.cholesky_ex(shifted)
            failed = (info > 0).reshape(-1, 1, 1)
            factor, info = torch.where(failed, again, factor), torch.where(info > 0, bad, info)
            if not bool(info.any()):
                break
    return factor


def is_well_conditioned(factor: Tensor) -> bool:
    """Return whether Cholesky factors of unit rows' Gram matrices need no refinement."""
    return factor.numel() == 0 or float(factor.diagonal(dim1=-2, dim2=-1).detach().amin()) >= _WELL_CONDITIONED


def back_substitute(factor: Tensor, right: Tensor) -> Tensor:
    """Solve with Cholesky factors for one vector a sample, ``(samples, n)``."""
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
