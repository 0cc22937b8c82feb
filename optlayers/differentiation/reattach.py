"""The implicit function theorem as one Newton step at the solution, which moves nothing and carries all derivatives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from optlayers.cones.common import primal
from optlayers.differentiation.first_order import first_order
from optlayers.differentiation.linearised import Linearised
from optlayers.parametric.constants import is_traced
from optlayers.solvers.active_rows import ActiveRows
from optlayers.solvers.normal_equations import back_substitute, factorise
from optlayers.solvers.problem import Problem

_PROXIMAL = 1e-13
_REFINEMENTS = 3
_WELL_CONDITIONED = 1e-2  # squared pivots of unit rows, from which no refinement is needed
_WEAK = 1e-9  # relative; duals up to this size are zero
_AT_BOUND = 1e-10  # relative; slacks this near to a bound count as active, whatever their dual is


def reattach(problem: Problem, x: Tensor, y: Tensor, usable: Tensor) -> Tensor:
    """Return `x` as a differentiable function of the problem's data, given a solution `x`, `y` without derivatives.

    Slacks at a bound stay there; with cones or auxiliary entries, those with a dual do. That is the derivative of the
    projection wherever it has one, and one of its limits elsewhere. Second derivatives are exact without cones, and
    refused with them. Samples that are not `usable`, ``(samples, 1)``, are no solutions: finite is all that their
    derivatives are.
    """
    y = torch.where(usable, y, 0.0)
    s = primal(problem.apply(x))
    lower, upper = primal(problem.lower), primal(problem.upper)
    size = primal(problem.scale).unsqueeze(-1)
    if problem.cones or not problem.is_strong:
        equal, weak = lower == upper, _WEAK * size
        return _by_linearisation(problem, x, y, s, ((y > weak) | equal) & usable, (y < -weak) & ~equal & usable)
    near = _AT_BOUND * size
    at_lower = ((s - y <= lower) | (s <= lower + near)) & usable
    at_upper = ((s - y >= upper) | (s >= upper - near)) & usable
    target = torch.where(at_lower, problem.lower, torch.where(at_upper, problem.upper, 0.0))
    return _by_active_rows(problem, x, y, at_lower | at_upper, target)


def _by_active_rows(problem: Problem, x: Tensor, y: Tensor, active: Tensor, target: Tensor) -> Tensor:
    """Solve ``dx - A' dy = v - x + A' y, A dx = target - A x`` on active rows, as many as the busiest sample has."""
    n = x.shape[-1]
    free: Tensor | None = None
    fixed = torch.zeros_like(x)
    if problem.box:
        held, active = active[:, :n], active[:, n:]
        free = 1.0 - held.to(x.dtype)
        fixed = torch.where(held, target[:, :n] - x, 0.0)
        target, y = target[:, n:], y[:, n:]

    def inside(change: Tensor) -> Tensor:
        return change if free is None else free * change

    if active.shape[-1] == 0:
        return x + fixed + inside(problem.v - x)
    most = active.shape[-1] if is_traced() else int(active.sum(-1).max()) if active.numel() else 0
    rows = ActiveRows(active, max(most, 1))  # one row keeps the graph to the rows' data
    factor = factorise(rows.gram(problem, _PROXIMAL, free))
    move = inside(problem.v - x + problem.transposed_times(rows.put(rows.take(y))))
    right = rows.take(target - problem.times(x + fixed + move))
    dual = back_substitute(factor, right)
    for _ in range(_REFINEMENTS if is_traced() or bool((_pivots(factor) < _WELL_CONDITIONED).any()) else 0):
        rest = right - rows.take(problem.times(inside(problem.transposed_times(rows.put(dual)))))
        dual = dual + back_substitute(factor, rest)
    return x + fixed + move + inside(problem.transposed_times(rows.put(dual)))


def _pivots(factor: Tensor) -> Tensor:
    return primal(factor).diagonal(dim1=-2, dim2=-1).square()


def _by_linearisation(problem: Problem, x: Tensor, y: Tensor, s: Tensor, at_lower: Tensor, at_upper: Tensor) -> Tensor:
    """Linearise the KKT equations: `stationarity` and `target` are how the data move them away from zero."""
    lower, upper, linear = primal(problem.lower), primal(problem.upper), problem.linear
    detached = replace(problem, rows=primal(problem.rows), lower=lower, upper=upper, v=primal(problem.v))
    at_cone = torch.zeros_like(at_lower)
    at_cone[:, linear:] = True
    at_lower, at_upper = at_lower & ~at_cone, at_upper & ~at_cone
    held = at_lower | at_upper
    stationarity = problem.weight * (problem.v - x) + problem.adjoint(y)
    below = at_lower | at_cone
    target = torch.where(below, problem.lower, 0.0) - torch.where(below, lower, 0.0)
    target = target + torch.where(at_upper, problem.upper, 0.0) - torch.where(at_upper, upper, 0.0)
    target = target - (problem.apply(x) - s)
    system = Linearised(detached if problem.cones else problem, held, s, y)
    result = x + system.solve(stationarity, target)
    return first_order(result, problem.v, problem.rows, problem.lower, problem.upper) if problem.cones else result
