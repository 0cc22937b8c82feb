"""The proximal method of multipliers with semismooth Newton steps: any product of cones and intervals."""

import torch
from torch import Tensor

from optlayers import cones
from optlayers.solvers.conic_program import ConicProgram, split_cones
from optlayers.solvers.iteration import Iterate, Method
from optlayers.solvers.normal_equations import back_substitute, factorise

_MOST_TRIALS = 12  # of a step length
_FLAT = 0.1  # of the first slope, up to which another one counts as zero
_AUXILIARY = 1e-6
_FIRST_PENALTY, _WARM_PENALTY, _LAST_PENALTY = 1.0, 1e3, 1e8
_ROUNDING = 1e-14
_PROGRESS = 0.1  # of the violation, for which the penalty stays


def augmented_lagrangian(program: ConicProgram, x: Tensor, y: Tensor, relaxation: float = 0.0) -> Method:
    """From points and duals, a Newton step at a time.

    Minimises ``1/2 |x - v|^2 + penalty / 2 dist^2(A x - y / penalty, range)`` over `x` by Newton's method with a line
    search, then moves the duals (Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm
    in convex programming", 1976; Zhao, Sun and Toh, "A Newton-CG augmented Lagrangian method", 2010). The function is
    convex and its generalised Hessian definite: neither dependent rows nor degenerate solutions stop it.

    With a `relaxation`, the penalty is its inverse and the duals stay 0: violations cost what they weigh.
    """
    now = _Lagrangian(program, x, y, relaxation)
    while True:
        if relaxation:
            now.center = now.x
        gradient, dual, _ = now.gradient()
        size = gradient.abs().amax(-1)
        if relaxation:
            error = size / now.program.scale
        else:
            now.move_multipliers(dual, size)
            error = now.program.error(now.x, dual)
        keep = yield Iterate(now.x, dual, error)
        if keep is not None:
            now.select(keep)
        now.step()


class _Lagrangian:
    """The augmented Lagrangian of each sample, with its point `x`, its slacks, and the accuracy asked of it."""

    def __init__(self, program: ConicProgram, x: Tensor, y: Tensor, relaxation: float) -> None:
        self.program, self.shift = program, torch.where(program.weight > 0, 0.0, _AUXILIARY)
        self.x, self.center, self.slack = x, x, program.apply(x)
        self.y = torch.zeros_like(y) if relaxation else y
        first = torch.where((self.y != 0).any(-1, keepdim=True), _WARM_PENALTY, _FIRST_PENALTY)
        self.penalty = torch.full_like(first, 1 / relaxation) if relaxation else first
        self.penalty = self.penalty.to(x.dtype)
        self.violation, self.accuracy = torch.full_like(program.scale, torch.inf), program.scale

    def select(self, keep: Tensor) -> None:
        """Keep some samples."""
        self.program = self.program.select(keep)
        for name in ("x", "center", "slack", "y", "penalty", "violation", "accuracy"):
            setattr(self, name, getattr(self, name)[keep])

    def gradient(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient, the duals after it, and the slack that is projected."""
        program = self.program
        z = self.slack - self.y / self.penalty
        dual = self.penalty * (program.nearest_slack(z) - z)
        return self._pull() - program.adjoint(dual), dual, z

    def _pull(self) -> Tensor:
        """Return the gradient of the quadratic terms."""
        return self.program.weight * (self.x - self.program.v) + self.shift * (self.x - self.center)

    def move_multipliers(self, dual: Tensor, size: Tensor) -> None:
        """Take the new duals where the inner problem is solved, and raise the penalty where that helped too little."""
        program, done = self.program, size <= self.accuracy
        violation = (self.slack - program.nearest_slack(self.slack)).abs().amax(-1)
        violation = torch.maximum(violation, ((dual - self.y) / self.penalty).abs().amax(-1))
        slow = done & (violation > _PROGRESS * self.violation)
        self.violation = torch.where(done, violation, self.violation)
        self.y = torch.where(done.unsqueeze(-1), dual, self.y)
        self.center = torch.where(done.unsqueeze(-1), self.x, self.center)
        self.penalty = torch.where(slow.unsqueeze(-1), 10 * self.penalty, self.penalty).clamp_max(_LAST_PENALTY)
        rounding = _ROUNDING * program.scale * (1 + self.penalty.squeeze(-1))
        self.accuracy = torch.where(done, torch.maximum(0.1 * violation, rounding), self.accuracy)

    def step(self) -> None:
        """Move the points by Newton's method."""
        program = self.program
        gradient, _, z = self.gradient()
        outside = (z < program.lower) | (z > program.upper) | (program.lower == program.upper)
        factor = factorise(hessian(program, outside, normal_maps(program, z), self.penalty, self.shift))
        direction = -back_substitute(factor, gradient).nan_to_num(0.0, 0.0, 0.0)
        change = program.apply(direction)
        length = self._line_search(direction, change, gradient, z)
        self.x = self.x + length * direction
        self.slack = program.apply(self.x)

    def _line_search(self, direction: Tensor, change: Tensor, gradient: Tensor, offset: Tensor) -> Tensor:
        """Return the step at which the slope along the direction has nearly vanished, at most 1: ``(samples, 1)``.

        The slope increases, as the function is convex: false position in a bracket (the Illinois method) finds its
        root, and unlike a comparison of values it works up to rounding.
        """
        program = self.program
        first = (gradient * direction).sum(-1, keepdim=True)
        curvature = ((program.weight + self.shift) * direction.square()).sum(-1, keepdim=True)
        linear = (self._pull() * direction).sum(-1, keepdim=True)

        def slope(step: Tensor) -> Tensor:
            z = offset + step * change
            dual = self.penalty * (program.nearest_slack(z) - z)
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


def normal_maps(program: ConicProgram, z: Tensor) -> list[Tensor]:
    """Return ``1 - D`` of each group of cones at slacks `z`, ``(samples, count, dimension, dimension)``."""
    maps = []
    for kind, alpha, cone in split_cones(z - program.lower, program.cones):
        identity = torch.eye(cone.shape[-1], dtype=z.dtype, device=z.device)
        maps.append(identity - cones.jacobian(kind, alpha, cone))
    return maps


def hessian(program: ConicProgram, outside: Tensor, normals: list[Tensor], penalty: Tensor, shift: Tensor) -> Tensor:
    """Return ``diag(weight + shift) + penalty A' (1 - D) A``, where `D` is the derivative of the projection of slacks.

    ``1 - D`` is 1 for slacks in intervals that are `outside`, ``(samples, slacks)``, else 0; of cones it is `normals`.
    """
    n, first = program.v.shape[-1], program.linear
    kept = outside.to(program.v.dtype)
    diagonal = (program.weight + shift).expand_as(program.v)
    if program.box:
        diagonal, kept = diagonal + penalty * kept[:, :n], kept[:, n:]
        first -= n
    rows = program.rows[:, :first]
    result = (rows.mT * (penalty * kept[:, :first]).unsqueeze(-2)) @ rows
    for normal, (_, _, columns) in zip(normals, split_cones(program.rows.mT, program.cones), strict=True):
        rows = columns.movedim(1, -1)
        product = penalty.unsqueeze(-1) * (normal @ rows).flatten(1, 2)
        result = result + rows.flatten(1, 2).mT @ product
    result = (result + result.mT) / 2
    return result + torch.diag_embed(diagonal)


def normal_part(program: ConicProgram, outside: Tensor, normals: list[Tensor], z: Tensor) -> Tensor:
    """Return ``(1 - D) z`` for values of slacks, ``(samples, slacks)``; see `hessian`."""
    parts = [torch.where(outside, z, 0.0)[:, : program.linear]]
    for normal, (_, _, cone) in zip(normals, split_cones(z, program.cones), strict=True):
        parts.append((normal @ cone.unsqueeze(-1)).squeeze(-1).flatten(-2))
    return torch.cat(parts, -1)
