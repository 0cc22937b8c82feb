"""A module's tensor held to a set by torch's own parametrizations: a projection, or a smooth map, of free entries."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from optlayers.declaration.declaration import check_choice
from optlayers.layer import Gradient, ProjectionLayer
from optlayers.oracles.smooth_set import SmoothSet
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled

How = Literal["projection", "smooth"]


def parametrize(
    module: nn.Module,
    name: str,
    constraints: Constraints | ScheduledSet,
    how: How = "projection",
    *,
    gradient: Gradient = "exact",
    pull: float = 0.0,
    margin: float = 1e-6,
) -> SetParametrization:
    """Hold ``module.name`` to a set: it becomes a function of a free tensor, which the optimizer moves instead.

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

    Returns
    -------
    SetParametrization
        Call its `step` after each training step if the set moves.

    Raises
    ------
    ValueError
        If the module has no such tensor, the shapes do not fit, or the set has no smooth map.
    """
    check_choice("how", how, How)
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{type(module).__name__} has no parameter or buffer {name!r}")
    held = scheduled(constraints)
    held.check(tensor, name)
    if how == "projection":
        parametrization: SetParametrization = ProjectionParametrization(held, gradient, pull)
    elif gradient != "exact" or pull:
        raise ValueError('gradient and pull are options of how="projection": a smooth map has one gradient, its own')
    else:
        parametrization = SmoothParametrization(held, tensor, margin)
    parametrization.to(tensor.device)
    register_parametrization(module, name, parametrization)
    parametrization.accepts_any = False
    return parametrization


class SetParametrization(nn.Module):
    """What both parametrizations share: the set, and the step that it is at.

    Attributes
    ----------
    feasible_set : FeasibleSet
        At this step.
    steps : Tensor of int64, shape ()
        How often `step` was called; in the state dict if the set moves.
    """

    steps: Tensor

    def __init__(self, constraints: ScheduledSet) -> None:
        super().__init__()
        self.scheduled = constraints
        self.feasible_set = constraints.at(0)
        self.accepts_any = True  # until it is registered
        self.register_buffer("steps", torch.tensor(0), persistent=constraints.moves)
        self.register_load_state_dict_post_hook(_follow)

    def step(self) -> None:
        """Go on to the set of the next step."""
        self.steps += 1
        self.update()

    def update(self) -> None:
        if self.scheduled.moves:
            self.feasible_set = self.scheduled.at(int(self.steps))

    def extra_repr(self) -> str:
        return repr(self.feasible_set)


class ProjectionParametrization(SetParametrization):
    """The nearest feasible point of the free tensor; `gradient` and `pull` are those of `ProjectionLayer`."""

    def __init__(self, constraints: ScheduledSet, gradient: Gradient = "exact", pull: float = 0.0) -> None:
        super().__init__(constraints)
        self._layer = ProjectionLayer(self.feasible_set, gradient=gradient, pull=pull)

    def update(self) -> None:
        super().update()
        self._layer.feasible_set = self.feasible_set

    def forward(self, raw: Tensor) -> Tensor:
        return self._layer(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the nearest feasible point of any value."""
        return self.feasible_set.project(value)


class SmoothParametrization(SetParametrization):
    """A smooth map of the free tensor onto the interior of the set."""

    def __init__(self, constraints: ScheduledSet, like: Tensor, margin: float = 1e-6) -> None:
        super().__init__(constraints)
        if not 0 < margin < 0.5:
            raise ValueError(f"margin: expected a number between 0 and 0.5, got {margin}")
        self.margin = margin
        self._map = SmoothSet.of(self.feasible_set, like)

    def update(self) -> None:
        super().update()
        self._map = self._map.at(self.feasible_set)

    def forward(self, raw: Tensor) -> Tensor:
        return self._map.forward(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the free tensor of a feasible value.

        Raises
        ------
        ValueError
            If the value is infeasible, by more than rounding.
        """
        if not self.accepts_any:
            violation = self.feasible_set.violation(value).max().item() if value.numel() else 0.0
            most = max(1e-6, torch.finfo(value.dtype).eps ** 0.5 / 3) * (1 + value.abs().max().item())
            if not violation <= most:
                raise ValueError(
                    f"expected a feasible value, got one that violates the set by {violation:.3g} (at most {most:.1g} "
                    "is taken for rounding): assign feasible_set.project(value)"
                )
        return self._map.inverse(self.feasible_set.project(value), self.margin)


def _follow(parametrization: nn.Module, _: Any) -> None:
    """Bring the set to the step that was loaded."""
    assert isinstance(parametrization, SetParametrization)
    parametrization.update()
