"""The least-infeasible points of empty sets as functions of the data."""

import torch
from torch import Tensor

from optlayers.autograd.first_order import first_order
from optlayers.autograd.primal import primal
from optlayers.solvers.augmented_lagrangian import hessian, normal_maps, normal_part
from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.normal_equations import back_substitute, factorise

_PENALTY = 1e7
_AUXILIARY = 1e-6


def reattach_relaxed(program: ConicProgram, x: Tensor, y: Tensor) -> Tensor:
    """Return `x` as a differentiable function of the program's data, where no point has its slacks in the range.

    It minimises ``dist^2(A x, range)``, and ``|x - v|^2`` among those points, which is the limit of the minimiser of
    ``1/2 |x - v|^2 + penalty / 2 dist^2(A x, range)``. One Newton step on that function, at a large penalty, moves
    nothing and carries the derivatives, those of the violations included; `y` are duals of the second problem.
    Exact to about one part in the penalty; second derivatives are refused.
    """
    linear, shift = program.linear, torch.where(program.weight > 0, 0.0, _AUXILIARY)
    plain = program.detached()
    s = primal(plain.apply(x))
    r = plain.nearest_slack(s) - s
    z = s - y / _PENALTY
    below, above = z < plain.lower, z > plain.upper
    equal = plain.lower == plain.upper
    below, above = below | equal, above & ~equal
    normals = normal_maps(plain, z)
    outside = below | above
    is_cone = torch.arange(s.shape[-1], device=s.device) >= linear
    moved = torch.where(below | is_cone, program.lower, torch.where(above, program.upper, 0.0))
    at = torch.where(below | is_cone, plain.lower, torch.where(above, plain.upper, 0.0))
    change = (moved - at) - (program.apply(x) - s)
    dual = _PENALTY * r + y + _PENALTY * normal_part(program, outside, normals, change)
    gradient = program.weight * (x - program.v) - program.adjoint(dual)
    penalty = torch.full_like(x[:, :1], _PENALTY)
    factor = factorise(hessian(plain, outside, normals, penalty, shift))
    result = x - back_substitute(factor, gradient - primal(gradient))
    return first_order(result, program.v, program.rows, program.lower, program.upper)
