"""Semismooth Newton for polyhedra: guess which slacks are at a bound, solve with these as equations, look again."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.solvers.active_rows import ActiveRows
from optlayers.solvers.normal_equations import NormalEquations, back_substitute, factorise, is_well_conditioned
from optlayers.solvers.problem import Problem

_PROXIMAL = 1e-10
_PROXIMAL_ROWS = 1e-13
_REFINEMENTS = 3
_MOST_REFINEMENTS = 12
_SETTLED = 1e-15  # relative; refinements that move points by less are the last
_AUXILIARY = 1e-8


def active_set(
    problem: Problem, x: Tensor, y: Tensor, steps: int, tolerance: float, *, rough: bool = False
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return each sample's best points, duals and relative errors ``(samples,)``, and the number of steps.

    On polyhedra the derivative of the residual is a mask, and Newton's method is the primal-dual active-set method
    (Hintermueller, Ito and Kunisch, "The primal-dual active set strategy as a semismooth Newton method", 2002): the
    answer is exact once the mask is. A `rough` guess with more active slacks than entries is not worth a step.
    """
    best_x, best_y, best = x.clone(), y.clone(), torch.full_like(problem.scale, torch.inf)
    left: Tensor | None = None
    own = problem
    taken = 0
    while taken < steps:
        taken += 1
        z = own.apply(x) - y
        at_lower, at_upper = z <= own.lower, z >= own.upper
        active = at_lower | at_upper
        if rough:
            keep = (active.sum(-1) <= x.shape[-1]).nonzero().squeeze(-1)
            if len(keep) == 0:
                break
            if len(keep) < own.samples:
                left = keep if left is None else left[keep]
                own, x, y = own.select(keep), x[keep], y[keep]
                z, at_lower, at_upper, active = z[keep], at_lower[keep], at_upper[keep], active[keep]
        x, y = nearest_with_equalities(own, active, own.nearest_slack(z), x, y)
        error = own.error(x, y)
        if left is None:
            if taken == 1 and bool((error <= tolerance).all()):
                return x, y, error, taken
            better = (error < best).unsqueeze(-1)
            best_x, best_y = torch.where(better, x, best_x), torch.where(better, y, best_y)
            best = torch.minimum(error, best)
            remaining = best > tolerance
        else:
            better = error < best[left]
            index = left[better]
            best_x[index], best_y[index], best[index] = x[better], y[better], error[better]
            remaining = best[left] > tolerance
        z = own.apply(x) - y
        settled = ((z <= own.lower) == at_lower).all(-1) & ((z >= own.upper) == at_upper).all(-1)
        keep = (remaining & ~settled).nonzero().squeeze(-1)
        if len(keep) == 0:
            break
        if len(keep) < own.samples:
            left = keep if left is None else left[keep]
            own, x, y = own.select(keep), x[keep], y[keep]
    return best_x, best_y, best, taken


def nearest_with_equalities(
    problem: Problem, active: Tensor, target: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``argmin 1/2 |x - v|^2`` subject to ``s = target`` for active slacks, and its duals.

    The proximal method of multipliers, started at the given point: dependent equations need no care.
    """
    y = torch.where(active, y, 0.0)
    if problem.is_strong and not problem.box:
        rows = ActiveRows(active)
        if rows.most <= problem.v.shape[-1]:
            return _by_compact_rows(problem, rows, target, y)
    theta = torch.where(active, 1 / _PROXIMAL, 0.0)
    shift = torch.where(problem.weight > 0, 0.0, _AUXILIARY)
    system = NormalEquations(problem, theta, shift)
    for _ in range(_REFINEMENTS + 2):
        r = problem.adjoint(y) - problem.weight * (x - problem.v)
        g = torch.where(active, theta * (target - problem.apply(x)), 0.0)
        dx, dy = system.solve(r, g)
        x, y = x + dx, y + dy
    return x, y


def _by_compact_rows(problem: Problem, rows: ActiveRows, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Solve with the active rows alone."""
    factor = factorise(rows.gram(problem, _PROXIMAL_ROWS))
    right, dual = rows.take(target), rows.take(y)
    x = problem.v + problem.adjoint(y)
    last = torch.inf
    refinements = 1 if is_well_conditioned(factor) else _MOST_REFINEMENTS
    for k in range(refinements):
        dual = dual + back_substitute(factor, right - rows.take(problem.apply(x)))
        y = rows.put(dual)
        before, x = x, problem.v + problem.adjoint(y)
        if k + 1 < refinements:
            move = float(((x - before).abs().amax(-1) / problem.scale).max()) if len(x) else 0.0
            if not _SETTLED < move < last / 2:
                break
            last = move
    return x, y
