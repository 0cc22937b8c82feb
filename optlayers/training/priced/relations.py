"""What penalties and Lagrangians constrain: tensors that torch computes, in a closed convex set.

An inequality, an equality and membership in a declared set are one thing, ``c(x) in K``, with K the numbers up to a
level, one number, or the set. What follows is written with the projection onto K alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from optlayers.training.schedules.arguments import check_count, check_number
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
        if items is not None:
            items = check_count("items", items)
        if average is not None:
            check_number("average", average, least=0.0, below=1.0)
        if limit != math.inf:
            check_number("limit", limit, above=0.0)
        if moved not in ("carry", "reset"):
            check_number('moved, unless it is "carry" or "reset"', moved)
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

    def surrogate(self, inputs: tuple[Any, ...], values: Tensor, exact: Tensor | None = None) -> Tensor:
        """Return the values, or `exact` ones in their place, with the gradient of the values or of the proxy."""
        if self.proxy is None and exact is None:
            return values
        slope = self.differentiable(inputs, values)
        return (values if exact is None else exact).detach() + (slope - slope.detach())

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
    def differs(self, before: int, after: int) -> bool:
        """Return whether K at one step may be another one than at an earlier one."""

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
        if not callable(level):
            try:
                is_number = not bool(torch.as_tensor(level).isnan().any())
            except (TypeError, ValueError, RuntimeError):
                is_number = False
            if not is_number:
                raise ValueError(
                    f"level: expected a number, a tensor, or a function of the step that returns one, got {level!r}"
                )
        self.level = level

    def level_at(self, step: int, like: Tensor) -> Tensor:
        """Return the level at a step."""
        return torch.as_tensor(value_at(self.level, step), dtype=like.dtype, device=like.device)

    def differs(self, before: int, after: int) -> bool:
        if not callable(self.level):
            return False
        return not torch.equal(*(torch.as_tensor(self.level(step)) for step in (before, after)))


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
    """``h(*inputs) == level``, value by value; multipliers have CVXPY's sign. Parameters as for `Inequality`."""

    kind = "equality"

    @torch.no_grad()
    def project(self, values: Tensor, step: int) -> Tensor:
        return self.level_at(step, values).expand_as(values)
