"""The proximal method of multipliers with semismooth Newton steps: any product of cones and intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers import cones
from optlayers.solvers.normal_equations import back_substitute, factorise
from optlayers.solvers.problem import Problem, split_cones

_MOST_STEPS = 300
_GOOD = 1e-10  # the relative residual from which few steps without progress are enough to stop
_PATIENCE_WHEN_GOOD, _PATIENCE = 6, 60
_MOST_TRIALS = 12  # of a step length
_FLAT = 0.1  # of the first slope, up to which another one counts as zero
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
        if relaxation:
            now.center = now.x
        gradient, dual, z = _gradient(own, now, slack, shift)
        size = gradient.abs().amax(-1)
        if relaxation:
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
    outside = (z < problem.lower) | (z > problem.upper) | (problem.lower == problem.upper)
    factor = factorise(hessian(problem, outside, normal_maps(problem, z), now.penalty, shift))
    direction = -back_substitute(factor, gradient)
    return direction.nan_to_num(0.0, 0.0, 0.0)


def normal_maps(problem: Problem, z: Tensor) -> list[Tensor]:
    """Return ``1 - D`` of each group of cones at slacks `z`, ``(samples, count, dimension, dimension)``."""
    maps = []
    for kind, alpha, own in split_cones(z - problem.lower, problem.cones):
        identity = torch.eye(own.shape[-1], dtype=z.dtype, device=z.device)
        maps.append(identity - cones.jacobian(kind, alpha, own))
    return maps


def hessian(problem: Problem, outside: Tensor, normals: list[Tensor], penalty: Tensor, shift: Tensor) -> Tensor:
    """Return ``diag(weight + shift) + penalty A' (1 - D) A``, where `D` is the derivative of the projection of slacks.

    Parameters
    ----------
    outside : Tensor of bool, shape (samples, slacks)
        Where ``1 - D`` is 1 for slacks in intervals; else it is 0.
    normals : list of Tensor
        `normal_maps`.
    """
    n, first = problem.v.shape[-1], problem.linear
    kept = outside.to(problem.v.dtype)
    diagonal = (problem.weight + shift).expand_as(problem.v)
    if problem.box:
        diagonal, kept = diagonal + penalty * kept[:, :n], kept[:, n:]
        first -= n
    rows = problem.rows[:, :first]
    result = (rows.mT * (penalty * kept[:, :first]).unsqueeze(-2)) @ rows
    start = first
    for normal in normals:
        count, dimension = normal.shape[1:3]
        rows = problem.rows[:, start : start + count * dimension].unflatten(1, (count, dimension))
        start += count * dimension
        product = penalty.unsqueeze(-1) * (normal @ rows).flatten(1, 2)
        result = result + rows.flatten(1, 2).mT @ product
    result = (result + result.mT) / 2
    return result + torch.diag_embed(diagonal)


def _line_search(
    problem: Problem, now: _Iterate, slack: Tensor, direction: Tensor, gradient: Tensor, shift: Tensor
) -> Tensor:
    """Return the step at which the slope along the direction has nearly vanished, at most 1: ``(samples, 1)``.

    The slope increases, as the function is convex: false position in a bracket (the Illinois method) finds its root,
    and unlike a comparison of values it works up to rounding.
    """
    change = problem.apply(direction)
    offset = slack - now.y / now.penalty
    first = (gradient * direction).sum(-1, keepdim=True)
    curvature = ((problem.weight + shift) * direction.square()).sum(-1, keepdim=True)
    linear = problem.weight * (now.x - problem.v) + shift * (now.x - now.center)
    linear = (linear * direction).sum(-1, keepdim=True)

    def slope(step: Tensor) -> Tensor:
        z = offset + step * change
        dual = now.penalty * (problem.nearest_slack(z) - z)
        return linear + step * curvature - (dual * change).sum(-1, keepdim=True)

    step = torch.ones_like(first)
    left, right, at_left = torch.zeros_like(first), step, first
    value = at_right = slope(step)
    for _ in range(_MOST_TRIALS):
        searched = (value.abs() > _FLAT * first.abs()) & ((at_right > 0) | (step < 1))
        if not bool(searched.any()):
            break
        guess = (left * at_right - right * at_left) / (at_right - at_left)
        guess = torch.where((guess > left) & (guess < right), guess, (left + right) / 2)
        step = torch.where(searched, guess, step)
        value = torch.where(searched, slope(step), value)
        below, above = searched & (value < 0), searched & (value >= 0)
        left, right = torch.where(below, step, left), torch.where(above, step, right)
        # halving the value at an end that stays makes the next guess fall on the other side of the root
        at_left = torch.where(below, value, torch.where(above, at_left / 2, at_left))
        at_right = torch.where(above, value, torch.where(below, at_right / 2, at_right))
    return step
