"""A batched primal-dual interior-point method for polyhedra: the safeguard, slow but hard to defeat."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from optlayers.solvers.normal_equations import NormalEquations
from optlayers.solvers.problem import Problem

_MOST_STEPS = 100
_PATIENCE = 25  # steps without progress
_PROXIMAL = 1e-12  # the weight of equalities is its inverse
_AUXILIARY = 1e-8
_TO_BOUNDARY = 0.995


@dataclass
class _State:
    """Points, slacks above lower and below upper bounds, and duals of both and of equalities."""

    x: Tensor
    below: Tensor
    above: Tensor
    dual_below: Tensor
    dual_above: Tensor
    dual_equal: Tensor

    def select(self, index: Tensor) -> _State:
        return _State(*(getattr(self, field.name)[index] for field in fields(self)))

    def moved(self, step: Tensor, direction: _State) -> _State:
        names = [field.name for field in fields(self)]
        return _State(*(getattr(self, name) + step * getattr(direction, name) for name in names))


class _Sides:
    """Which slacks are equalities, and which have a lower or an upper bound."""

    def __init__(self, problem: Problem) -> None:
        lower, upper = problem.lower, problem.upper
        self.equal = lower == upper
        self.has_lower, self.has_upper = lower.isfinite() & ~self.equal, upper.isfinite() & ~self.equal
        self.lower, self.upper = torch.where(lower.isfinite(), lower, 0.0), torch.where(upper.isfinite(), upper, 0.0)
        self.count = (self.has_lower.sum(-1) + self.has_upper.sum(-1)).clamp_min(1)


def interior_point(problem: Problem, tolerance: float, relaxation: float = 0.0) -> tuple[Tensor, Tensor, int]:
    """Return points, duals and the number of steps; what each sample's best iterate was.

    Mehrotra's predictor and corrector, with the proximal terms of Schwan, Jiang, Kuhn and Jones ("PIQP: A proximal
    interior-point quadratic programming solver", 2023): dependent equalities and auxiliary entries need no care.

    Parameters
    ----------
    problem : Problem
        Without cones.
    tolerance : float
        The relative KKT residual at which a sample is finished.
    relaxation : float
        With ``r = relaxation y``, the slacks are ``A x + r``, at the cost ``|r|^2 / (2 relaxation)``: never infeasible.
    """
    best_x, best_y = problem.v.clone(), torch.zeros_like(problem.lower)
    best = torch.full_like(problem.scale, torch.inf)
    lowest, since = best.clone(), torch.zeros_like(best)
    left = torch.arange(problem.samples, device=problem.v.device)
    own, sides = problem, _Sides(problem)
    state = _start(own, sides)
    for step in range(_MOST_STEPS):
        y = torch.where(sides.equal, state.dual_equal, state.dual_below - state.dual_above)
        error = own.error(state.x, y, relaxation)
        center = _complementarity(state, sides)
        progress = (error < 0.9 * best[left]) | (center < 0.9 * lowest[left])
        better = error < best[left]
        lowest[left] = torch.minimum(lowest[left], center)
        best_x[left[better]], best_y[left[better]], best[left[better]] = state.x[better], y[better], error[better]
        since[left] = torch.where(progress, 0.0, since[left] + 1)
        alive = (best[left] > tolerance) & (since[left] <= _PATIENCE) & error.isfinite()
        if not bool(alive.all()):
            keep = alive.nonzero().squeeze(-1)
            if len(keep) == 0:
                return best_x, best_y, step
            left, own, state = left[keep], own.select(keep), state.select(keep)
            sides = _Sides(own)
        state = _advance(own, sides, state, relaxation)
    return best_x, best_y, _MOST_STEPS


def _start(problem: Problem, sides: _Sides) -> _State:
    scale = problem.scale.unsqueeze(-1)
    s = problem.apply(problem.v)
    width = torch.where(sides.has_lower & sides.has_upper, sides.upper - sides.lower, torch.inf)
    inside = torch.minimum(scale.expand_as(s), width / 2)
    below = torch.where(sides.has_lower, torch.maximum(s - sides.lower, inside), 1.0)
    above = torch.where(sides.has_upper, torch.maximum(sides.upper - s, inside), 1.0)
    dual_below = torch.where(sides.has_lower, scale.minimum(scale.square() / below), 0.0)
    dual_above = torch.where(sides.has_upper, scale.minimum(scale.square() / above), 0.0)
    return _State(problem.v, below, above, dual_below, dual_above, torch.zeros_like(s))


def _advance(problem: Problem, sides: _Sides, state: _State, relaxation: float) -> _State:
    """Take one step: to the predicted solution for the centring, then corrected for the curvature."""
    lower_weight = torch.where(sides.has_lower, state.dual_below / state.below, 0.0)
    upper_weight = torch.where(sides.has_upper, state.dual_above / state.above, 0.0)
    softness = relaxation + _PROXIMAL
    damping = 1 / (1 + softness * (lower_weight + upper_weight))
    theta = torch.where(sides.equal, 1 / softness, (lower_weight + upper_weight) * damping)
    shift = torch.where(problem.weight > 0, 0.0, _AUXILIARY)
    system = NormalEquations(problem, theta, shift)
    y = torch.where(sides.equal, state.dual_equal, state.dual_below - state.dual_above)
    s = problem.apply(state.x) + relaxation * y
    stationarity = problem.adjoint(y) - problem.weight * (state.x - problem.v)
    gap_below = torch.where(sides.has_lower, s - sides.lower - state.below, 0.0)
    gap_above = torch.where(sides.has_upper, sides.upper - s - state.above, 0.0)
    gap_equal = torch.where(sides.equal, problem.lower - s, 0.0).nan_to_num(0.0)

    # a slack that vanishes faster than its dual is known from the dual, and the other way round
    near_lower = sides.has_lower & (state.below < state.dual_below) & ~(sides.has_upper & (state.above < state.below))
    near_upper = sides.has_upper & (state.above < state.dual_above) & ~near_lower

    def direction(target_below: Tensor, target_above: Tensor) -> _State:
        pull = torch.where(sides.has_lower, (target_below - state.dual_below * gap_below) / state.below, 0.0)
        push = torch.where(sides.has_upper, (target_above - state.dual_above * gap_above) / state.above, 0.0)
        g = torch.where(sides.equal, theta * gap_equal, (pull - push) * damping)
        dx, dy = system.solve(stationarity, g)
        change = problem.apply(dx) + softness * dy
        below, above = change + gap_below, gap_above - change
        free_below = (target_below - state.dual_below * below) / state.below
        free_above = (target_above - state.dual_above * above) / state.above
        dual_below = torch.where(near_lower, dy + torch.where(sides.has_upper, free_above, 0.0), free_below)
        dual_above = torch.where(near_upper, torch.where(sides.has_lower, free_below, 0.0) - dy, free_above)
        below = torch.where(near_lower, (target_below - state.below * dual_below) / state.dual_below, below)
        above = torch.where(near_upper, (target_above - state.above * dual_above) / state.dual_above, above)
        return _State(
            dx,
            torch.where(sides.has_lower, below, 0.0),
            torch.where(sides.has_upper, above, 0.0),
            torch.where(sides.has_lower, dual_below, 0.0),
            torch.where(sides.has_upper, dual_above, 0.0),
            torch.where(sides.equal, dy, 0.0),
        )

    products = (-state.below * state.dual_below, -state.above * state.dual_above)
    affine = direction(*products)
    ahead = state.moved(_longest(state, affine, sides), affine)
    center, predicted = _complementarity(state, sides), _complementarity(ahead, sides)
    target = ((predicted / center.clamp_min(torch.finfo(center.dtype).tiny)).clamp(0, 1) ** 3 * center).unsqueeze(-1)
    corrected = direction(
        target + products[0] - affine.below * affine.dual_below, target + products[1] - affine.above * affine.dual_above
    )
    return state.moved((_TO_BOUNDARY * _longest(state, corrected, sides)).clamp_max(1.0), corrected)


def _complementarity(state: _State, sides: _Sides) -> Tensor:
    below = (state.below * state.dual_below * sides.has_lower).sum(-1)
    return (below + (state.above * state.dual_above * sides.has_upper).sum(-1)) / sides.count


def _longest(state: _State, direction: _State, sides: _Sides) -> Tensor:
    """Return the largest step that keeps slacks and duals nonnegative, at most a little over one: ``(samples, 1)``."""
    limit = torch.full_like(sides.count, 1.0 / _TO_BOUNDARY, dtype=state.x.dtype)
    for value, change, mask in (
        (state.below, direction.below, sides.has_lower),
        (state.above, direction.above, sides.has_upper),
        (state.dual_below, direction.dual_below, sides.has_lower),
        (state.dual_above, direction.dual_above, sides.has_upper),
    ):
        if value.shape[-1]:
            limit = limit.minimum(torch.where(mask & (change < 0), -value / change, torch.inf).amin(-1))
    return limit.unsqueeze(-1)
