"""A batched primal-dual interior-point method for polyhedra: the safeguard, slow but hard to defeat."""

import torch
from torch import Tensor

from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.iteration import Iterate, Method
from optlayers.solvers.normal_equations import NormalEquations

_PROXIMAL = 1e-12  # the weight of equalities is its inverse
_AUXILIARY = 1e-8
_TO_BOUNDARY = 0.995

_State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Points, distances to lower and upper bounds, duals of both, and duals of equalities."""


class _Sides:
    """Which slacks are equalities, and the bounds of the others: lower and upper ones as ``(samples, 2, slacks)``."""

    def __init__(self, program: ConicProgram) -> None:
        self.equal = program.lower == program.upper
        bound = torch.stack([program.lower, program.upper], 1)
        self.exists = bound.isfinite() & ~self.equal.unsqueeze(1)
        self.bound = torch.where(self.exists, bound, 0.0)
        self.sign = bound.new_tensor([[1.0], [-1.0]])
        self.count = self.exists.sum((1, 2)).clamp_min(1)

    def distances(self, s: Tensor) -> Tensor:
        """Return how far slacks are inside of their bounds."""
        return self.sign * (s.unsqueeze(1) - self.bound)

    def join(self, dual: Tensor, dual_equal: Tensor) -> Tensor:
        """Return one dual a slack, ``(samples, slacks)``."""
        return torch.where(self.equal, dual_equal, dual[:, 0] - dual[:, 1])

    def complementarity(self, state: _State) -> Tensor:
        """Return the mean product of distances and duals."""
        return (state[1] * state[2] * self.exists).sum((1, 2)) / self.count

    def longest(self, state: _State, change: _State) -> Tensor:
        """Return the largest step that keeps distances and duals nonnegative, at most a little over 1."""
        limit = torch.full_like(state[0][:, 0], 1 / _TO_BOUNDARY)
        for value, move in zip(state[1:3], change[1:3], strict=True):
            if value.shape[-1]:
                limit = limit.minimum(torch.where(self.exists & (move < 0), -value / move, torch.inf).amin((1, 2)))
        return limit


def interior_point(program: ConicProgram, relaxation: float = 0.0) -> Method:
    """Mehrotra's predictor and corrector, from any points: for programs without cones.

    With the proximal terms of Schwan, Jiang, Kuhn and Jones ("PIQP: A proximal interior-point quadratic programming
    solver", 2023), dependent equalities and auxiliary entries need no care. With a `relaxation`, the slacks are
    ``A x + r``, where ``r = relaxation y`` costs ``|r|^2 / (2 relaxation)``: never infeasible.
    """
    sides = _Sides(program)
    state = _start(program, sides)
    while True:
        y = sides.join(*state[2:])
        error = program.error(state[0], y, relaxation)
        keep = yield Iterate(state[0], y, error, merit=sides.complementarity(state), moving=error.isfinite())
        if keep is not None:
            program = program.select(keep)
            x, distance, dual, dual_equal = (part[keep] for part in state)
            state, sides = (x, distance, dual, dual_equal), _Sides(program)
        state = _advance(program, sides, state, relaxation)


def _start(program: ConicProgram, sides: _Sides) -> _State:
    s = program.apply(program.v)
    scale = program.scale.reshape(-1, 1, 1)
    width = torch.where(sides.exists.all(1), program.upper - program.lower, torch.inf)
    distance = torch.maximum(sides.distances(s), torch.minimum(scale, width.unsqueeze(1) / 2))
    distance = torch.where(sides.exists, distance, 1.0)
    dual = torch.where(sides.exists, scale.minimum(scale.square() / distance), 0.0)
    return program.v, distance, dual, torch.zeros_like(s)


def _moved(state: _State, step: Tensor, change: _State) -> _State:
    step = step.unsqueeze(-1)
    wide = step.unsqueeze(-1)
    x, distance, dual, dual_equal = change
    return state[0] + step * x, state[1] + wide * distance, state[2] + wide * dual, state[3] + step * dual_equal


def _advance(program: ConicProgram, sides: _Sides, state: _State, relaxation: float) -> _State:
    """Take one step: to the predicted solution for the centring, then corrected for the curvature.

    A target for the products of distances and duals gives a direction by Newton's method: with the distances and the
    duals eliminated, what remains is one system in points and joint duals, see `NormalEquations`.
    """
    x, distance, dual, _ = state
    exists, equal = sides.exists, sides.equal
    softness = relaxation + _PROXIMAL
    weight = torch.where(exists, dual / distance, 0.0).sum(1)
    damping = 1 / (1 + softness * weight)
    theta = torch.where(equal, 1 / softness, weight * damping)
    system = NormalEquations(program, theta, torch.where(program.weight > 0, 0.0, _AUXILIARY))
    y = sides.join(*state[2:])
    s = program.apply(x) + relaxation * y
    stationarity = program.adjoint(y) - program.weight * (x - program.v)
    gap = torch.where(exists, sides.distances(s) - distance, 0.0)
    gap_equal = torch.where(equal, program.lower - s, 0.0).nan_to_num(0.0)

    # a distance that vanishes faster than its dual is known from the dual, and the other way round; one side at most
    near = exists & (distance < dual)
    below = near[:, 0] & ~(exists[:, 1] & (distance[:, 1] < distance[:, 0]))
    near = torch.stack([below, near[:, 1] & ~below], 1)

    def direction(target: Tensor) -> _State:
        pull = torch.where(exists, (target - dual * gap) / distance, 0.0)
        dx, dy = system.solve(stationarity, torch.where(equal, theta * gap_equal, (pull[:, 0] - pull[:, 1]) * damping))
        inward = sides.sign * (program.apply(dx) + softness * dy).unsqueeze(1) + gap
        free = torch.where(exists, (target - dual * inward) / distance, 0.0)
        change = torch.where(near, sides.sign * dy.unsqueeze(1) + free.flip(1), free)
        inward = torch.where(near, (target - distance * change) / dual, inward)
        return dx, torch.where(exists, inward, 0.0), change, torch.where(equal, dy, 0.0)

    affine = direction(-distance * dual)
    center = sides.complementarity(state)
    predicted = sides.complementarity(_moved(state, sides.longest(state, affine), affine))
    target = (predicted / center.clamp_min(torch.finfo(center.dtype).tiny)).clamp(0, 1) ** 3 * center
    corrected = direction(target.reshape(-1, 1, 1) - distance * dual - affine[1] * affine[2])
    return _moved(state, (_TO_BOUNDARY * sides.longest(state, corrected)).clamp_max(1.0), corrected)
