"""A module's tensor kept to a set by torch's own parametrizations: a projection, or a smooth map, of free entries."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.layer import Gradient, ProjectionLayer
from optlayers.oracles.smooth_set import SmoothSet
from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.clock import Clock, Clocked
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, as_scheduled_set

How = Literal["projection", "smooth"]


def parametrize(
    module: nn.Module,
    name: str,
    constraints: Constraints,
    how: How = "projection",
    *,
    gradient: Gradient = "exact",
    pull: float = 0.0,
    margin: float = 1e-6,
    clock: Clock | None = None,
) -> "SetParametrization":
    """Keep ``module.name`` to a set: it becomes a function of a free tensor, which the optimizer moves instead.

    The free tensor is the same `nn.Parameter` as before, now ``module.parametrizations[name].original``, so that an
    optimizer that has it keeps it. The value at the start is the projection of what was there. Assigning a feasible
    value, ``module.name = value``, sets the free tensor; torch's `remove_parametrizations` takes all away again.

    Parameters
    ----------
    module : nn.Module
    name : str
        Of a parameter or buffer.
    constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet
        On one variable, of the tensor's shape or that of its last dimensions.
    how : {"projection", "smooth"}
        "projection": the nearest feasible point, for every set; entries can be exactly at bounds, and get there by
        steps of finite length. The projection's own gradient is zero across active bounds, where training may stall:
        ``gradient="straight_through"`` reaches the optimum of a convex loss.
        "smooth": a smooth map onto the interior (softmax, softplus, sigmoid, Cholesky, ...), for recognised sets; no
        gradient is cut off, and bounds are only approached.
    gradient : {"exact", "straight_through"}
    pull : float
        For "projection", as for `ProjectionLayer`. With SGD, straight-through gradients make dual averaging, and with
        ``pull=1 / lr`` exactly projected gradient descent.
    margin : float
        For "smooth": how far assigned points on the boundary are moved inside, relative to the size of the set where
        it is bounded, else absolute. The map is flat there: a larger margin (1e-2) for a start that is meant to move.
    clock : Clock, optional
        One that others read, too.

    Returns
    -------
    SetParametrization
        Call its `step` after each step of the optimizer if the set moves and no clock is given.

    Raises
    ------
    ValueError
        If the module has no such tensor, the shapes do not fit, or the set has no smooth map.
    """
    check_choice("how", how, How)
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{type(module).__name__} has no parameter or buffer {name!r}")
    scheduled_set = as_scheduled_set(constraints)
    scheduled_set.check(tensor, name)
    if how == "projection":
        parametrization: SetParametrization = ProjectionParametrization(scheduled_set, gradient, pull, clock)
    elif gradient != "exact" or pull:
        raise ValueError('gradient and pull are options of how="projection": a smooth map has one gradient, its own')
    else:
        parametrization = SmoothParametrization(scheduled_set, tensor, margin, clock)
    parametrization.to(tensor.device)
    register_parametrization(module, name, parametrization)
    parametrization.accepts_any = False
    return parametrization


class SetParametrization(Clocked, nn.Module):
    """What both parametrizations share: the set at the step of the clock, which is in the state if the set moves."""

    saved_steps: Tensor

    def __init__(self, scheduled_set: ScheduledSet, clock: Clock | None = None) -> None:
        super().__init__()
        self.read(clock)
        self.scheduled_set = scheduled_set
        self.accepts_any = True  # until it is registered
        self.register_buffer("saved_steps", torch.tensor(0), persistent=scheduled_set.moves)
        self.register_state_dict_pre_hook(SetParametrization._save_clock)
        self.register_load_state_dict_post_hook(SetParametrization._load_clock)

    @property
    def feasible_set(self) -> FeasibleSet:
        """The set at this step."""
        return self.scheduled_set.at(self.steps)

    def _save_clock(self, *_: Any) -> None:
        self.saved_steps.fill_(self.steps)

    def _load_clock(self, *_: Any) -> None:
        if self.scheduled_set.moves:
            self.clock.steps = int(self.saved_steps)

    def extra_repr(self) -> str:
        return repr(self.feasible_set)


class ProjectionParametrization(SetParametrization):
    """The nearest feasible point of the free tensor; `gradient` and `pull` are those of `ProjectionLayer`."""

    def __init__(
        self, scheduled_set: ScheduledSet, gradient: Gradient = "exact", pull: float = 0.0, clock: Clock | None = None
    ) -> None:
        super().__init__(scheduled_set, clock)
        self._layer = ProjectionLayer(self.feasible_set, gradient=gradient, pull=pull)

    def forward(self, raw: Tensor) -> Tensor:
        self._layer.feasible_set = self.feasible_set
        return self._layer(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the nearest feasible point of any value."""
        return self.feasible_set.project(value)


class SmoothParametrization(SetParametrization):
    """A smooth map of the free tensor onto the interior of the set."""

    def __init__(
        self, scheduled_set: ScheduledSet, like: Tensor, margin: float = 1e-6, clock: Clock | None = None
    ) -> None:
        super().__init__(scheduled_set, clock)
        check_number("margin", margin, above=0.0, below=0.5)
        self.margin = margin
        self._map = SmoothSet.of(self.feasible_set, like)

    def forward(self, raw: Tensor) -> Tensor:
        return self._map.at(self.feasible_set).forward(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the free tensor of a feasible value; raise ValueError for one infeasible by more than rounding."""
        if not self.accepts_any:
            violation = self.feasible_set.violation(value).max().item() if value.numel() else 0.0
            most = max(1e-6, torch.finfo(value.dtype).eps ** 0.5 / 3) * (1 + value.abs().max().item())
            if not violation <= most:
                raise ValueError(
                    f"expected a feasible value, got one that violates the set by {violation:.3g} (at most {most:.1g} "
                    "is taken for rounding): assign feasible_set.project(value)"
                )
        return self._map.at(self.feasible_set).inverse(self.feasible_set.project(value), self.margin)
