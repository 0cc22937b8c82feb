"""A tensor in a declared set, as a constraint of penalties and Lagrangians."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from optlayers.solution import Solution
from optlayers.training.priced.relations import Function, Relation
from optlayers.training.schedules.scheduled_set import Constraints, as_scheduled_set


def first_input(*inputs: Any) -> Any:
    """Return the first of the inputs: the function that constrains it."""
    return inputs[0]


def _constant(tensor: Tensor, *inputs: Any) -> Tensor:
    return tensor


class InSet(Relation):
    """A tensor is in a declared set.

    The multiplier has the shape of the tensor: it is a normal of the set where the tensor is, minus the gradient of
    the objective at the optimum, whatever cones the set is made of. `duals` takes it apart into one dual variable per
    CVXPY constraint.

    Parameters
    ----------
    tensor : Tensor or callable
        A parameter or what is computed from the inputs; dimensions before the variable's are independent members.
    constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet
    proxy, items, average, limit, moved
        As for `Relation`.
    """

    kind = "set"

    def __init__(self, tensor: Tensor | Function, constraints: Constraints, **options: Any) -> None:
        super().__init__(partial(_constant, tensor) if isinstance(tensor, Tensor) else tensor, **options)
        self.scheduled_set = as_scheduled_set(constraints)
        self._event = len(self.scheduled_set.shape)

    def _checked(self, values: object, what: str) -> Tensor:
        tensor = super()._checked(values, what)
        self.scheduled_set.check(tensor, "the constrained tensor")
        return tensor

    def project(self, values: Tensor, step: int) -> Tensor:
        return self.scheduled_set.at(step).project(values.detach())

    def distances(self, values: Tensor, step: int) -> Tensor:
        return self.norms(values - self.project(values, step))

    def norms(self, tensor: Tensor) -> Tensor:
        """Return the Euclidean norm of each member."""
        return tensor.abs() if self._event == 0 else torch.linalg.vector_norm(tensor.flatten(-self._event), dim=-1)

    def differs(self, before: int, after: int) -> bool:
        return self.scheduled_set.moves and before != after

    def clip(self, multipliers: Tensor) -> Tensor:
        if math.isinf(self.limit):
            return multipliers
        size = self.norms(multipliers).clamp_min(torch.finfo(multipliers.dtype).tiny)
        return multipliers * (self.limit / size).clamp_max(1.0).reshape((*size.shape, *[1] * self._event))

    def dual_infeasibility(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        """Return how far the nearest feasible points move along the multipliers; normals do not move them."""
        nearest = self.project(values, step)
        return self.norms(self.project(nearest + multipliers, step) - nearest)

    def complementarity(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        toward = self.project(values + multipliers, step)
        product = multipliers * (toward - values)
        return (product if self._event == 0 else product.flatten(-self._event).sum(-1)).abs()

    def duals(self, values: Tensor, multipliers: Tensor, step: int) -> list[Tensor | tuple[Tensor, ...]]:
        """Return one dual variable per CVXPY constraint, see `Solution.dual`.

        A normal y at x is what projects ``x + y`` to x: the duals of that projection are those of the training.
        """
        nearest: Tensor = self.project(values, step)
        solution: Solution = self.scheduled_set.at(step).solve(nearest + multipliers)
        return solution.dual
