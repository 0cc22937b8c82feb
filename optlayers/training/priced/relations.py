"""What penalties and Lagrangians hold: tensors that torch computes, in a closed convex set.

An inequality, an equality and membership in a declared set are one thing, ``c(x) in K``, with K the numbers up to a
level, one number, or the set. What follows is written with the projection onto K alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from optlayers.solution import Solution
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled
from optlayers.training.schedules.schedules import value_at

Function = Callable[..., Tensor]
Level = float | Tensor | Callable[[int], Any]
Moved = Literal["carry", "reset"] | float


class Relation(ABC):
    """A constraint ``c(*inputs) in K``.

    Parameters
    ----------
    function : callable
        Returns a tensor; what it gets are the inputs of the penalty or Lagrangian.
    proxy : callable, optional
        A differentiable stand-in of the same shape: gradients are its own, while values, and with them the
        multipliers, are those of `function`, which may then be a count or a rate (Cotter, Jiang, Wang, Narayan, You,
        Sridharan, Gupta, Optimization with non-differentiable constraints, 2019).
    items : int, optional
        The constraint is one per sample of a data set of this size: values have one row per sample of the mini-batch,
        and each sample a multiplier of its own, found by the index of the call.
    average : float, optional
        The constraint is on an expectation: values are averaged over mini-batches, with this weight, in [0, 1), on
        the past.
    limit : float
        Multipliers are not larger: absolute values of numbers, norms for each member of a set.
    moved : "carry", "reset" or float
        What multipliers do when the level, or the set, moves: they stay, begin at zero, or are multiplied.
    """

    kind: str

    def __init__(
        self,
        function: Function,
        *,
        proxy: Function | None = None,
        items: int | None = None,
        average: float | None = None,
        limit: float = math.inf,
        moved: Moved = "carry",
    ) -> None:
        if not callable(function) or not (proxy is None or callable(proxy)):
            raise ValueError(f"{self.kind}: expected functions that return tensors, got {function!r} and {proxy!r}")
        if items is not None and average is not None:
            raise ValueError(f"{self.kind}: pass items, for constraints on samples, or average, for an expectation")
        if average is not None and not 0 <= average < 1:
            raise ValueError(f"{self.kind}: expected 0 <= average < 1, got {average}")
        if not limit > 0:
            raise ValueError(f"{self.kind}: expected a positive limit, got {limit}")
        if isinstance(moved, str) and moved not in ("carry", "reset"):
            raise ValueError(f'{self.kind}: expected moved="carry", "reset" or a number, got {moved!r}')
        self.function, self.proxy, self.items, self.average = function, proxy, items, average
        self.limit, self.moved = limit, moved

    def values(self, inputs: tuple[Any, ...]) -> Tensor:
        """Return what the function returns; raise ValueError unless that can be constrained."""
        return self._checked(self.function(*inputs), "the function")

    def differentiable(self, inputs: tuple[Any, ...], values: Tensor) -> Tensor:
        """Return the values, or those of the proxy."""
        if self.proxy is None:
            return values
        stand_in = self._checked(self.proxy(*inputs), "the proxy")
        if stand_in.shape != values.shape:
            raise ValueError(
                f"{self.kind}: the proxy has the shape {tuple(stand_in.shape)}, the constraint {tuple(values.shape)}"
            )
        return stand_in

    def _checked(self, values: object, what: str) -> Tensor:
        if not isinstance(values, Tensor) or not values.is_floating_point():
            arrived = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"{self.kind}: expected {what} to return a floating-point tensor, got {arrived}")
        return values.to(torch.promote_types(values.dtype, torch.float32))

    @abstractmethod
    def project(self, values: Tensor, step: int) -> Tensor:
        """Return the nearest points of K at a step, as constants."""

    def distances(self, values: Tensor, step: int) -> Tensor:
        """Return the distance to K of each number or, for sets, of each member.

        The first derivatives are exact: K's projection does not move the distance to first order.
        """
        return (values - self.project(values.detach(), step)).abs()

    @abstractmethod
    def moves(self, step: int) -> bool:
        """Return whether K at the next step may be another one."""

    def clip(self, multipliers: Tensor) -> Tensor:
        """Return multipliers that respect the limit."""
        return multipliers if math.isinf(self.limit) else multipliers.clamp(-self.limit, self.limit)

    def dual_infeasibility(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        """Return how far multipliers are from those that K allows; zero-sized or of any shape, zero where allowed."""
        return multipliers.new_zeros(())

    def complementarity(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        """Return products of multipliers and slacks."""
        return multipliers.new_zeros(())

    def duals(self, values: Tensor, multipliers: Tensor, step: int) -> Any:
        """Return the multipliers as CVXPY defines dual variables."""
        return multipliers.clone()


class _Numbers(Relation):
    """Values that are compared with a level, one by one."""

    def __init__(self, function: Function, *, level: Level = 0.0, **options: Any) -> None:
        super().__init__(function, **options)
        self.level = level

    def level_at(self, step: int, like: Tensor) -> Tensor:
        """Return the level at a step."""
        return torch.as_tensor(value_at(self.level, step), dtype=like.dtype, device=like.device)

    def moves(self, step: int) -> bool:
        if not callable(self.level):
            return False
        before, after = (torch.as_tensor(self.level(k)) for k in (step, step + 1))
        return not torch.equal(before, after)


class Inequality(_Numbers):
    """``g(*inputs) <= level``, value by value; multipliers are nonnegative.

    Parameters
    ----------
    function, proxy, items, average, limit, moved
        As for `Relation`.
    level : number, Tensor that broadcasts to the values, or function of the step
    """

    kind = "inequality"

    @torch.no_grad()
    def project(self, values: Tensor, step: int) -> Tensor:
        return torch.minimum(values, self.level_at(step, values))

    def slacks(self, values: Tensor, step: int) -> Tensor:
        """Return ``level - g``."""
        return self.level_at(step, values) - values

    def clip(self, multipliers: Tensor) -> Tensor:
        return multipliers.clamp(0.0, self.limit)

    def dual_infeasibility(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        return multipliers.clamp_max(0.0).abs()

    def complementarity(self, values: Tensor, multipliers: Tensor, step: int) -> Tensor:
        return (multipliers * self.slacks(values, step)).abs()


class Equality(_Numbers):
    """``h(*inputs) == level``, value by value; multipliers have any sign, that of CVXPY's.

    Parameters
    ----------
    function, proxy, items, average, limit, moved
        As for `Relation`.
    level : number, Tensor that broadcasts to the values, or function of the step
    """

    kind = "equality"

    @torch.no_grad()
    def project(self, values: Tensor, step: int) -> Tensor:
        return self.level_at(step, values).expand_as(values)


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

    def __init__(self, tensor: Tensor | Function, constraints: Constraints | ScheduledSet, **options: Any) -> None:
        super().__init__((lambda *_: tensor) if isinstance(tensor, Tensor) else tensor, **options)
        self.set = scheduled(constraints)
        self._event = len(self.set.shape)

    def _checked(self, values: object, what: str) -> Tensor:
        tensor = super()._checked(values, what)
        self.set.check(tensor, "the constrained tensor")
        return tensor

    def project(self, values: Tensor, step: int) -> Tensor:
        return self.set.at(step).project(values.detach())

    def distances(self, values: Tensor, step: int) -> Tensor:
        return self.norms(values - self.project(values, step))

    def norms(self, tensor: Tensor) -> Tensor:
        """Return the Euclidean norm of each member."""
        return tensor.abs() if self._event == 0 else torch.linalg.vector_norm(tensor.flatten(-self._event), dim=-1)

    def moves(self, step: int) -> bool:
        return self.set.moves

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
        solution: Solution = self.set.at(step).solve(nearest + multipliers)
        return solution.dual
