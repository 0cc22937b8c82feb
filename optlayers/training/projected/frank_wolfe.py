"""Frank-Wolfe (conditional gradients): weights in a set without projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from optlayers.oracles.linear_minimisation import minimise_linear
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.member_optimizer import MemberOptimizer
from optlayers.training.projected.members import members_of
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet
from optlayers.training.schedules.schedules import Schedule, value_at


def stochastic_momentum(step: int) -> float:
    """Return the momentum that makes Frank-Wolfe converge on mini-batches, ``1 - 4 / (step + 8)^(2/3)``.

    Source: Mokhtari, Hassani and Karbasi, "Stochastic conditional gradient methods", 2020.
    """
    return max(0.0, 1 - 4 / (step + 8) ** (2 / 3))


def _classical(step: int) -> float:
    return 2 / (step + 2)


class FrankWolfe(MemberOptimizer):
    """Move towards the point of the set that the gradient likes best: ``x <- x + lr (s - x), s = argmin_C <d, s>``.

    Steps are convex combinations of points of the set: they stay in it, and early ones are sparse or of low rank. For
    a convex loss with full gradients, `gap` is an upper bound on how far the loss was from its minimum, and decreases
    as ``1 / step`` (Frank and Wolfe, 1956; Jaggi, "Revisiting Frank-Wolfe", 2013).

    Parameters
    ----------
    constraints : dict of Parameter to (list of cvxpy.Constraint, FeasibleSet or ScheduledSet)
        Bounded sets; a variable's shape is the parameter's or that of its last dimensions. Parameters are projected
        onto their sets at once; where a set moves, before each step.
    lr : float or function of the step, optional
        Between 0 and 1; the default is ``2 / (step + 2)``, steps counted from zero. A number may be changed by torch's
        schedulers.
    momentum : float or function of the step
        The direction is averaged, ``d <- momentum * d + (1 - momentum) * gradient``; `stochastic_momentum` for
        mini-batches.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is out of range, or (in `step`) a set is not bounded.
    """

    def __init__(
        self,
        constraints: Mapping[Tensor, Constraints | ScheduledSet],
        lr: float | Schedule | None = None,
        momentum: float | Schedule = 0.0,
    ) -> None:
        self._sets = members_of(constraints, "FrankWolfe")
        options: dict[str, float | Schedule] = {"lr": _classical if lr is None else lr, "momentum": momentum}
        self._schedules = {name: value for name, value in options.items() if callable(value)}
        defaults = {name: float(value_at(value, 0)) for name, value in options.items()}
        for name, value in defaults.items():
            if not 0 <= value <= 1:
                raise ValueError(f"expected a {name} between 0 and 1, got {value}")
        super().__init__(list(self._sets), defaults)
        self._gaps: list[Tensor] = []
        for parameter, moving in self._sets.items():
            with torch.no_grad():
                parameter.copy_(moving.at(0).project(parameter.detach()))

    @property
    def gap(self) -> float:
        """The Frank-Wolfe gap ``<d, x - s>`` where the last step began, summed over all parameters and rows."""
        return float(sum(float(gap) for gap in self._gaps)) if self._gaps else float("inf")

    def _move(self, members: list[tuple[Tensor, dict[str, Any]]]) -> None:
        self._gaps = [self._move_one(parameter, group) for parameter, group in members]

    def _move_one(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Make the step of one parameter, and return its gap."""
        state = self.state[parameter]
        step = state.get("step", 0)
        group |= {name: float(value_at(schedule, step)) for name, schedule in self._schedules.items()}
        direction = parameter.grad
        assert direction is not None
        if group["momentum"] > 0 or "momentum" in self._schedules:
            average = state.setdefault("average", direction.clone())
            direction = average.lerp_(direction, 1 - group["momentum"])
        moving = self._sets[parameter]
        feasible_set = moving.at(step)
        if moving.moves:
            project_in_place(feasible_set, parameter)
        vertex = minimise_linear(feasible_set, direction)
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        gap = (direction.to(dtype) * (parameter - vertex).to(dtype)).sum()
        parameter.lerp_(vertex, group["lr"])
        state["step"] = step + 1
        return gap
