"""The proximal method of multipliers with semismooth Newton steps: any product of cones and intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers import cones
from optlayers.solvers.normal_equations import factorise
from optlayers.solvers.problem import Problem, split_cones

_MOST_STEPS = 300
_GOOD = 1e-10  # the relative residual from which few steps without progress are enough to stop
_PATIENCE_WHEN_GOOD, _PATIENCE = 6, 60
_MOST_HALVINGS = 25
_SUFFICIENT = 1e-4  # of the decrease that the slope promises
_AUXILIARY = 1e-6
_FIRST_PENALTY, _WARM_PENALTY, _LAST_PENALTY = 1.0, 1e3, 1e8
_ROUNDING = 1e-14
_PROGRESS = 0.1  # of the violation, for which the penalty stays


class _Iterate:
    """Points and multipliers of all samples, each at its own stage."""

    def __init__(self, problem: Problem, x: Tensor, y: Tensor, penalty: float) -> None:
        self.x, self.y, self.center = x, y, x
        self.penalty = torch.full_like(problem.scale, penalty).unsqueeze(-1)
        self.violation = torch.full_like(problem.scale, torch.inf)
        self.since = torch.zeros_like(problem.scale)  # the best iterate
        self.accuracy = problem.scale.clone()  # to which the inner problem is solved

    def select(self, index: Tensor) -> None:
        for name, value in self.__dict__.items():
            setattr(self, name, value[index])


def augmented_lagrangian(
    problem: Problem, x: Tensor, y: Tensor, tolerance: float, relaxation: float = 0.0
) -> tuple[Tensor, Tensor, int]:
    """Return points, duals and the number of Newton steps; of each sample the best iterate.

    Minimises ``1/2 |x - v|^2 + penalty / 2 dist^2(A x - y / penalty, range)`` over `x` by Newton's method with a line
    search, then moves the duals (Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm
    in convex programming", 1976; Zhao, Sun and Toh, "A Newton-CG augmented Lagrangian method", 2010). The function is
    convex and its generalised Hessian definite: neither dependent rows nor degenerate solutions stop it.

    With a `relaxation`, the penalty is its inverse and the duals are not moved: violations cost what they weigh.
    """
    if relaxation:
        y = torch.zeros_like(y)
    now = _Iterate(problem, x, y, 1 / relaxation if relaxation else _FIRST_PENALTY)
    if not relaxation:
        started = (y != 0).any(-1, keepdim=True)
        now.penalty = torch.where(started, _WARM_PENALTY, now.penalty)
    best_x, best_y = x.clone(), y.clone()
    best = torch.full_like(problem.scale, torch.inf)
    left = torch.arange(problem.samples, device=x.device)
    own = problem
    shift = torch.where(problem.weight > 0, 0.0, _AUXILIARY)
    for step in range(_MOST_STEPS):
        slack = own.apply(now.x)
        gradient, dual, z = _gradient(own, now, slack, shift)
        size = gradient.abs().amax(-1)
        if relaxation:
            now.center = now.x
            error = size / own.scale
        else:
            _move_multipliers(own, now, slack, dual, size)
            error = own.error(now.x, dual)
        better = error < best[left]
        index = left[better]
        best_x[index], best_y[index], best[index] = now.x[better], dual[better], error[better]
        now.since = torch.where(better, 0.0, now.since + 1)
        patience = torch.where(best[left] <= _GOOD, _PATIENCE_WHEN_GOOD, _PATIENCE)
        keep = ((best[left] > tolerance) & (now.since <= patience)).nonzero().squeeze(-1)
        if len(keep) == 0:
            return best_x, best_y, step
        if len(keep) < own.samples:
            left, own, slack = left[keep], own.select(keep), slack[keep]
            now.select(keep)
        gradient, _, z = _gradient(own, now, slack, shift)
        direction = _newton_direction(own, now, gradient, z, shift)
        now.x = now.x + _line_search(own, now, slack, direction, gradient, shift) * direction
    return best_x, best_y, _MOST_STEPS


def _gradient(problem: Problem, now: _Iterate, slack: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of the augmented Lagrangian, the duals after it, and the slack that is projected."""
    z = slack - now.y / now.penalty
    dual = now.penalty * (problem.nearest_slack(z) - z)
    own = problem.weight * (now.x - problem.v) + shift * (now.x - now.center)
    return own - problem.adjoint(dual), dual, z


def _move_multipliers(problem: Problem, now: _Iterate, slack: Tensor, dual: Tensor, size: Tensor) -> None:
    """Take the new duals where the inner problem is solved, and raise the penalty where that helped too little."""
    done = size <= now.accuracy
    violation = (slack - problem.nearest_slack(slack)).abs().amax(-1)
    gap = ((dual - now.y) / now.penalty).abs().amax(-1)
    violation = torch.maximum(violation, gap)
    slow = done & (violation > _PROGRESS * now.violation)
    now.violation = torch.where(done, violation, now.violation)
    now.y = torch.where(done.unsqueeze(-1), dual, now.y)
    now.center = torch.where(done.unsqueeze(-1), now.x, now.center)
    now.penalty = torch.where(slow.unsqueeze(-1), 10 * now.penalty, now.penalty).clamp_max(_LAST_PENALTY)
    rounding = _ROUNDING * problem.scale * (1 + now.penalty.squeeze(-1))
    now.accuracy = torch.where(done, torch.maximum(0.1 * violation, rounding), now.accuracy)


def _newton_direction(problem: Problem, now: _Iterate, gradient: Tensor, z: Tensor, shift: Tensor) -> Tensor:
    factor = factorise(hessian(problem, z, now.penalty, shift))
    direction = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
    return direction.nan_to_num(0.0, 0.0, 0.0)


def hessian(problem: Problem, z: Tensor, penalty: Tensor, shift: Tensor) -> Tensor:
    """Return ``diag(weight + shift) + penalty A' (1 - D) A`` with `D` the derivative of the projection at `z`."""
    n, first = problem.v.shape[-1], problem.linear
    outside = ((z < problem.lower) | (z > problem.upper) | (problem.lower == problem.upper)).to(z.dtype)
    diagonal = (problem.weight + shift).expand_as(problem.v)
    if problem.box:
        diagonal, outside = diagonal + penalty * outside[:, :n], outside[:, n:]
        first -= n
    rows = problem.rows[:, :first]
    result = (rows.mT * (penalty * outside[:, :first]).unsqueeze(-2)) @ rows
    start = first
    for kind, alpha, own in split_cones(z - problem.lower, problem.cones):
        count, dimension = own.shape[-2:]
        rows = problem.rows[:, start : start + count * dimension].unflatten(1, (count, dimension))
        start += count * dimension
        normal = torch.eye(dimension, dtype=z.dtype, device=z.device) - cones.jacobian(kind, alpha, own)
        product = penalty.unsqueeze(-1) * (normal @ rows).flatten(1, 2)
        result = result + rows.flatten(1, 2).mT @ product
    result = (result + result.mT) / 2
    result.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return result


def _line_search(
    problem: Problem, now: _Iterate, slack: Tensor, direction: Tensor, gradient: Tensor, shift: Tensor
) -> Tensor:
    """Halve the step until the augmented Lagrangian decreases enough: ``(samples, 1)``."""
    change = problem.apply(direction)
    slope = (gradient * direction).sum(-1, keepdim=True)
    offset = slack - now.y / now.penalty

    def value(step: Tensor | float) -> Tensor:
        x, z = now.x + step * direction, offset + step * change
        distance = (z - problem.nearest_slack(z)).square().sum(-1, keepdim=True)
        own = (problem.weight * (x - problem.v).square()).sum(-1, keepdim=True)
        own = own + (shift * (x - now.center).square()).sum(-1, keepdim=True)
        return own / 2 + now.penalty * distance / 2

    start = value(0.0)
    rounding = 1e-14 * (1 + start.abs())
    step = torch.ones_like(slope)
    for _ in range(_MOST_HALVINGS):
        failed = value(step) > start + _SUFFICIENT * step * slope + rounding
        if not bool(failed.any()):
            break
        step = torch.where(failed, step / 2, step)
    return step
