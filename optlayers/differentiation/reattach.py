"""The implicit function theorem as one Newton step at the solution, which moves nothing and carries all derivatives."""

import torch
from torch import Tensor

from optlayers.autograd.first_order import first_order
from optlayers.autograd.primal import primal
from optlayers.differentiation.active_space import ActiveSpace, active_sides
from optlayers.differentiation.linearised import Linearised
from optlayers.solvers.conic_program import ConicProgram

_WEAK = 1e-9  # relative; duals up to this size are zero


def reattach(program: ConicProgram, x: Tensor, y: Tensor, usable: Tensor | None) -> Tensor:
    """Return `x` as a differentiable function of the program's data, given a solution `x`, `y` without derivatives.

    Slacks at a bound stay there; with cones or auxiliary entries, those with a dual do. That is the derivative of the
    projection wherever it has one, and one of its limits elsewhere. Second derivatives are exact without cones, and
    refused with them. Samples that are not `usable`, ``(samples, 1)``, are no solutions: finite is all that their
    derivatives are. None says that all are.
    """
    if x.shape[-1] == 0:  # the equalities leave nothing to choose; no entry, with the derivatives of none
        return program.v
    y = y if usable is None else torch.where(usable, y, 0.0)
    if is_polyhedral(program):
        return _by_active_slacks(program, x, y, *active_sides(program, x, y, usable))
    equal, weak = primal(program.lower) == primal(program.upper), _WEAK * primal(program.scale).unsqueeze(-1)
    at_lower, at_upper = (y > weak) | equal, (y < -weak) & ~equal
    if usable is not None:
        at_lower, at_upper = at_lower & usable, at_upper & usable
    return _by_linearisation(program, x, y, at_lower, at_upper)


def tangent(program: ConicProgram, x: Tensor, y: Tensor, change: Tensor) -> Tensor:
    """Return how a solution `x`, `y` of a polyhedral program follows a change of its points, to first order.

    The map is symmetric. Near the solution it is the whole truth: the projection onto a polyhedron is piecewise affine.
    """
    at_lower, at_upper = active_sides(program, x, y, None)
    return ActiveSpace(program, at_lower | at_upper).tangent(change)


def is_polyhedral(program: ConicProgram) -> bool:
    """Whether the slacks at bounds say all of the derivative: there are no cones and no auxiliary entries."""
    return program.is_strong and not program.cones


def _by_active_slacks(program: ConicProgram, x: Tensor, y: Tensor, at_lower: Tensor, at_upper: Tensor) -> Tensor:
    """Solve ``dx - A' dy = v - x + A' y, A dx = target - A x`` for the active slacks."""
    n = x.shape[-1]
    space = ActiveSpace(program, at_lower | at_upper)
    target = torch.where(at_lower, program.lower, torch.where(at_upper, program.upper, 0.0))
    fixed = torch.zeros_like(x)
    if program.box:
        fixed = torch.where((at_lower | at_upper)[:, :n], target[:, :n] - x, 0.0)
        target, y = target[:, n:], y[:, n:]
    move = space.inside(program.v - x + program.transposed_times(space.of_active(y)))
    return x + fixed + move + space.lift(target - program.times(x + fixed + move))


def _by_linearisation(program: ConicProgram, x: Tensor, y: Tensor, at_lower: Tensor, at_upper: Tensor) -> Tensor:
    """Linearise the KKT equations: `stationarity` and `target` are how the data move them away from zero."""
    s = primal(program.apply(x))
    detached = program.detached()
    at_cone = torch.zeros_like(at_lower)
    at_cone[:, program.linear :] = True
    at_lower, at_upper = at_lower & ~at_cone, at_upper & ~at_cone
    active = at_lower | at_upper
    stationarity = program.weight * (program.v - x) + program.adjoint(y)
    below = at_lower | at_cone
    target = torch.where(below, program.lower, 0.0) - torch.where(below, detached.lower, 0.0)
    target = target + torch.where(at_upper, program.upper, 0.0) - torch.where(at_upper, detached.upper, 0.0)
    target = target - (program.apply(x) - s)
    system = Linearised(detached if program.cones else program, active, s, y)
    result = x + system.solve(stationarity, target)
    return first_order(result, program.v, program.rows, program.lower, program.upper) if program.cones else result
