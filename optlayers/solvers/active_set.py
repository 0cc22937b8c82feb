"""Semismooth Newton for polyhedra: guess which slacks are at a bound, solve with these as equations, look again."""

import torch
from torch import Tensor

from optlayers.solvers.active_rows import ActiveRows
from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.iteration import Iterate, Method
from optlayers.solvers.normal_equations import NormalEquations, back_substitute, factorise, is_well_conditioned

_PROXIMAL = 1e-10
_PROXIMAL_ROWS = 1e-13
_REFINEMENTS = 3
_MOST_REFINEMENTS = 12
_SETTLED = 1e-15  # relative; refinements that move points by less are the last
_AUXILIARY = 1e-8


def active_set(program: ConicProgram, x: Tensor, y: Tensor, most: int | None = None) -> Method:
    """From points and duals, whose signs say which slacks are active; of guesses with more than `most`, give up.

    On polyhedra the derivative of the residual is a mask, and Newton's method is the primal-dual active-set method
    (Hintermueller, Ito and Kunisch, "The primal-dual active set strategy as a semismooth Newton method", 2002): the
    answer is exact once the mask is.
    """
    z = program.apply(x) - y
    at_lower, at_upper = z <= program.lower, z >= program.upper
    while True:
        x, y = nearest_with_equalities(program, at_lower | at_upper, program.nearest_slack(z), x, y)
        z = program.apply(x) - y
        before, at_lower, at_upper = (at_lower, at_upper), z <= program.lower, z >= program.upper
        moving = ((at_lower != before[0]) | (at_upper != before[1])).any(-1)
        if most is not None:
            moving = moving & ((at_lower | at_upper).sum(-1) <= most)
        keep = yield Iterate(x, y, program.error(x, y), moving=moving)
        if keep is not None:
            program, x, y, z = program.select(keep), x[keep], y[keep], z[keep]
            at_lower, at_upper = at_lower[keep], at_upper[keep]


def nearest_with_equalities(
    program: ConicProgram, active: Tensor, target: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``argmin 1/2 |x - v|^2`` subject to ``s = target`` for active slacks, and its duals.

    The proximal method of multipliers, started at the given point: dependent equations need no care.
    """
    y = torch.where(active, y, 0.0)
    if program.is_strong and not program.box:
        rows = ActiveRows(active)
        if rows.most <= program.v.shape[-1]:
            return _by_compact_rows(program, rows, target, y)
    theta = torch.where(active, 1 / _PROXIMAL, 0.0)
    shift = torch.where(program.weight > 0, 0.0, _AUXILIARY)
    system = NormalEquations(program, theta, shift)
    for _ in range(_REFINEMENTS + 2):
        r = program.adjoint(y) - program.weight * (x - program.v)
        g = torch.where(active, theta * (target - program.apply(x)), 0.0)
        dx, dy = system.solve(r, g)
        x, y = x + dx, y + dy
    return x, y


def _by_compact_rows(program: ConicProgram, rows: ActiveRows, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Solve with the active rows alone."""
    factor = factorise(rows.gram(program, _PROXIMAL_ROWS))
    right, dual = rows.take(target), rows.take(y)
    x = program.v + program.adjoint(y)
    last = torch.inf
    refinements = 1 if is_well_conditioned(factor) else _MOST_REFINEMENTS
    for k in range(refinements):
        dual = dual + back_substitute(factor, right - rows.take(program.apply(x)))
        y = rows.put(dual)
        before, x = x, program.v + program.adjoint(y)
        if k + 1 < refinements:
            move = float(((x - before).abs().amax(-1) / program.scale).max()) if len(x) else 0.0
            if not _SETTLED < move < last / 2:
                break
            last = move
    return x, y
