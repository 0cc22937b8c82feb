"""One string for the strategy that keeps a module's tensor to a set."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from torch.optim import Optimizer

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.training.priced.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.priced.in_set import InSet, first_input
from optlayers.training.priced.penalty import Penalty
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.projector import Projector
from optlayers.training.reparametrized.parametrize import parametrize
from optlayers.training.schedules.clock import Clock, ClockedModule, was_skipped
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, as_scheduled_set

Strategy = Literal["projection", "reparametrization", "penalty", "augmented_lagrangian"]


def constrain(
    module: nn.Module,
    name: str,
    constraints: Constraints,
    strategy: Strategy,
    *,
    clock: Clock | None = None,
    **options: Any,
) -> "ConstrainedTensor":
    """Keep ``module.name`` to a set during training, by one of four strategies with one way to call them.

    Call this before the optimizer is made, ``loss = constrained(objective)`` in place of the objective,
    ``constrained.step(optimizer)`` after the optimizer's step, and ``constrained.finish()`` when training is over.

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
    clock : Clock, optional
        One that others read, too: ``clock.attach(optimizer)`` once there is an optimizer.
    **options
        Of the strategy: ``every``, ``metric``, ``clear_momentum`` and ``project_now`` of `project_after_step`
        (projection); ``how`` and others of `parametrize` (of which "smooth" is the default here, and for "projection"
        ``gradient="straight_through"``, since its own gradient stalls where entries are at bounds); those of
        `Penalty`; those of `AugmentedLagrangian`.

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
    scheduled_set = as_scheduled_set(constraints)
    scheduled_set.check(parameter, name)
    return _STRATEGIES[strategy](module, name, scheduled_set, clock, **options)


class ConstrainedTensor(ClockedModule, ABC):
    """A module's tensor that a strategy keeps to its `scheduled_set`; made by `constrain`. Its state has the clock."""

    def __init__(
        self, module: nn.Module, name: str, scheduled_set: ScheduledSet, clock: Clock | None, **options: Any
    ) -> None:
        super().__init__(clock)
        self._owner = (module, name)  # a tuple, so that the module does not become a part of this one
        self.scheduled_set = scheduled_set
        self._begin(module, name, **options)

    @abstractmethod
    def _begin(self, module: nn.Module, name: str, **options: Any) -> None:
        """Do what the strategy does before the first step, by its options."""

    @property
    def tensor(self) -> Tensor:
        """The tensor as the module sees it."""
        module, name = self._owner
        return getattr(module, name)

    @property
    def feasible_set(self) -> FeasibleSet:
        """The set at this step."""
        return self.scheduled_set.at(self.steps)

    def forward(self, objective: Tensor) -> Tensor:
        """Return what is to be differentiated in place of the objective."""
        return objective

    def step(self, optimizer: Optimizer | None = None) -> None:
        """Do what the strategy does after a step of the optimizer, in the sets of the steps made.

        The optimizer is needed for ``metric="optimizer"`` and ``clear_momentum``, and to leave out the steps that a
        `GradScaler` skipped.
        """
        if optimizer is None or not was_skipped(optimizer):
            self._tick()
            self._after_step(optimizer)

    def _after_step(self, optimizer: Optimizer | None) -> None:
        """Do what the strategy does after the optimizer's step; by default, nothing."""

    @torch.no_grad()
    def violation(self) -> Tensor:
        """Return the largest violation over all copies of the set."""
        return self.feasible_set.violation(self.tensor).max()

    @torch.no_grad()
    def finish(self) -> None:
        """Leave a plain parameter, exactly feasible: the last point, projected."""
        project_in_place(self.feasible_set, self.tensor)


class _Projection(ConstrainedTensor):
    """Projection after each step of the optimizer, or each `every` of them."""

    def _begin(self, module: nn.Module, name: str, *, project_now: bool = True, **options: Any) -> None:
        tensors = {name: (partial(getattr, module, name), self.scheduled_set)}
        self.projector = Projector(tensors, self.clock, **options)
        if project_now:
            self.finish()

    def _after_step(self, optimizer: Optimizer | None) -> None:
        self.projector.after_step([] if optimizer is None else [optimizer])


class _Reparametrization(ConstrainedTensor):
    """A map from free entries, which reads the clock; the optimizer gets these as the module's parameters."""

    def _begin(
        self, module: nn.Module, name: str, *, how: Literal["projection", "smooth"] = "smooth", **options: Any
    ) -> None:
        if how == "projection":
            options = {"gradient": "straight_through", **options}
        parametrize(module, name, self.scheduled_set, how, clock=self.clock, **options)

    def finish(self) -> None:
        module, name = self._owner
        remove_parametrizations(module, name, leave_parametrized=True)
        super().finish()


class _Penalty(ConstrainedTensor):
    """A penalty in the loss."""

    def _begin(self, module: nn.Module, name: str, **options: Any) -> None:
        self.penalty = Penalty(self.scheduled_set, clock=self.clock, **options)

    def forward(self, objective: Tensor) -> Tensor:
        return objective + self.penalty(self.tensor)

    def _after_step(self, optimizer: Optimizer | None) -> None:
        self.penalty.step()


class _Multipliers(ConstrainedTensor):
    """Multipliers in the loss."""

    def _begin(self, module: nn.Module, name: str, **options: Any) -> None:
        self.lagrangian = AugmentedLagrangian(InSet(first_input, self.scheduled_set), clock=self.clock, **options)

    def forward(self, objective: Tensor) -> Tensor:
        return self.lagrangian(objective, self.tensor)

    def _after_step(self, optimizer: Optimizer | None) -> None:
        self.lagrangian.step(*([self.tensor] if self.lagrangian.update == "alternating" else []))


_STRATEGIES: dict[str, type[ConstrainedTensor]] = {
    "projection": _Projection,
    "reparametrization": _Reparametrization,
    "penalty": _Penalty,
    "augmented_lagrangian": _Multipliers,
}
