"""One string for the strategy that holds a module's tensor to a set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.training.priced.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.priced.penalty import Penalty
from optlayers.training.priced.relations import InSet
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.reparametrized.parametrize import parametrize
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled

Strategy = Literal["projection", "reparametrization", "penalty", "augmented_lagrangian"]


def constrain(
    module: nn.Module, name: str, constraints: Constraints | ScheduledSet, strategy: Strategy, **options: Any
) -> Held:
    """Hold ``module.name`` to a set during training, by one of four strategies with one way to call them.

    Call this before the optimizer is made, ``loss = held(objective)`` in place of the objective, ``held.step()`` after
    the optimizer's step, and ``held.finish()`` when training is over.

    Parameters
    ----------
    module : nn.Module
    name : str
        Of a parameter.
    constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet
        On one variable, of the tensor's shape or that of its last dimensions.
    strategy : {"projection", "reparametrization", "penalty", "augmented_lagrangian"}
        "projection": the nearest feasible point after each step of the optimizer. Always feasible; converges to the
        constrained optimum with gradient descent, with momentum too; every set.
        "reparametrization": a smooth map from free entries (``how="smooth"``), or the projection of them. Always
        feasible, strictly inside when smooth; the problem is no longer convex; recognised sets when smooth.
        "penalty": a term for the distance to the set, see `Penalty`. Feasible only in the limit of large weights
        (quadratic) or up to the step size (exact); costs one projection, like the others.
        "augmented_lagrangian": a price for the violation that is learned, see `AugmentedLagrangian`. Feasible in the
        limit; converges to the constrained optimum and its multipliers.
    **options
        Of the strategy: ``every`` (projection); ``how`` and others of `parametrize` (of which "smooth" is the
        default here, and for "projection" ``gradient="straight_through"``, since its own gradient stalls where entries
        are at bounds); those of `Penalty`; those of `AugmentedLagrangian`.

    Returns
    -------
    Held

    Raises
    ------
    ValueError
        If the module has no such parameter, the shapes do not fit, or the strategy does not take the set.
    """
    check_choice("strategy", strategy, Strategy)
    parameter = getattr(module, name, None)
    if not isinstance(parameter, nn.Parameter):
        kind = "is parametrized already" if is_parametrized(module, name) else "has no parameter of that name"
        raise ValueError(f"{type(module).__name__}.{name}: expected a parameter, the module {kind}")
    held = scheduled(constraints)
    held.check(parameter, name)
    return _STRATEGIES[strategy](module, name, held, **options)


class Held(nn.Module, ABC):
    """A module's tensor that is held to a set.

    Attributes
    ----------
    steps : Tensor of int64, shape ()
        How often `step` was called.
    """

    steps: Tensor

    def __init__(self, module: nn.Module, name: str, constraints: ScheduledSet) -> None:
        super().__init__()
        self._owner = (module, name)  # a tuple, so that the module does not become a part of this one
        self.scheduled = constraints
        self.register_buffer("steps", torch.tensor(0))

    @property
    def tensor(self) -> Tensor:
        """The tensor as the module sees it."""
        module, name = self._owner
        return getattr(module, name)

    @property
    def feasible_set(self) -> FeasibleSet:
        """The set at this step."""
        return self.scheduled.at(int(self.steps))

    def forward(self, objective: Tensor) -> Tensor:
        """Return what is to be differentiated in place of the objective."""
        return objective

    def step(self) -> None:
        """Follow a step of the optimizer."""
        self.steps += 1
        self._follow()

    @abstractmethod
    def _follow(self) -> None:
        """Do what the strategy does after the optimizer's step."""

    @torch.no_grad()
    def violation(self) -> Tensor:
        """Return the largest violation over all copies of the set."""
        return self.feasible_set.violation(self.tensor).max()

    @torch.no_grad()
    def finish(self) -> None:
        """Leave a plain parameter, exactly feasible: the last point, projected."""
        project_in_place(self.feasible_set, self.tensor)


class Projected(Held):
    """Projection after each step of the optimizer, or each `every` of them."""

    def __init__(self, module: nn.Module, name: str, constraints: ScheduledSet, *, every: int = 1) -> None:
        super().__init__(module, name, constraints)
        if every < 1:
            raise ValueError(f"expected every >= 1, got {every}")
        self.every = every
        self.finish()

    def _follow(self) -> None:
        if int(self.steps) % self.every == 0:
            self.finish()


class Reparametrized(Held):
    """A map from free entries; the optimizer gets these as the module's parameters."""

    def __init__(
        self,
        module: nn.Module,
        name: str,
        constraints: ScheduledSet,
        *,
        how: Literal["projection", "smooth"] = "smooth",
        **options: Any,
    ) -> None:
        super().__init__(module, name, constraints)
        if how == "projection":
            options = {"gradient": "straight_through", **options}
        self._map = (parametrize(module, name, constraints, how, **options),)  # a part of the user's module

    def _follow(self) -> None:
        self._map[0].step()

    def finish(self) -> None:
        module, name = self._owner
        remove_parametrizations(module, name, leave_parametrized=True)
        super().finish()


class Penalised(Held):
    """A penalty in the loss."""

    def __init__(self, module: nn.Module, name: str, constraints: ScheduledSet, **options: Any) -> None:
        super().__init__(module, name, constraints)
        self.penalty = Penalty(constraints, **options)

    def forward(self, objective: Tensor) -> Tensor:
        return objective + self.penalty(self.tensor)

    def _follow(self) -> None:
        self.penalty.step()


class Priced(Held):
    """Multipliers in the loss."""

    def __init__(self, module: nn.Module, name: str, constraints: ScheduledSet, **options: Any) -> None:
        super().__init__(module, name, constraints)
        self.lagrangian = AugmentedLagrangian(InSet(lambda tensor: tensor, constraints), **options)

    def forward(self, objective: Tensor) -> Tensor:
        return self.lagrangian(objective, self.tensor)

    def _follow(self) -> None:
        alternating = self.lagrangian.update == "alternating"
        self.lagrangian.step(*([self.tensor] if alternating else []))


_STRATEGIES: dict[str, type[Held]] = {
    "projection": Projected,
    "reparametrization": Reparametrized,
    "penalty": Penalised,
    "augmented_lagrangian": Priced,
}
