"""Frank-Wolfe (conditional gradients): weights in a set without projections."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from optlayers.oracles.linear_minimisation import minimise_linear
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.member_optimizer import Member, MemberOptimizer
from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import Constraints
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
        onto their sets at once, and before each step where the set is scheduled.
    lr : float or function of the step, optional
        Between 0 and 1; the default is ``2 / (step + 2)``, steps counted from zero. A number may be changed by torch's
        schedulers.
    momentum : float or function of the step
        The direction is averaged, ``d <- momentum * d + (1 - momentum) * gradient``; `stochastic_momentum` for
        mini-batches.
    clock : Clock, optional
        One that others read, too; it is attached to this optimizer.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is out of range, or (in `step`) a set is not bounded.
    """

    def __init__(
        self,
        constraints: Mapping[Tensor, Constraints],
        lr: float | Schedule | None = None,
        momentum: float | Schedule = 0.0,
        *,
        clock: Clock | None = None,
    ) -> None:
        options: dict[str, float | Schedule] = {"lr": _classical if lr is None else lr, "momentum": momentum}
        self._schedules = {name: value for name, value in options.items() if callable(value)}
        defaults = {name: value_at(value, 0) for name, value in options.items()}
        for name, value in defaults.items():
            check_number(name, value, least=0.0, most=1.0)
        super().__init__(constraints, {name: float(value) for name, value in defaults.items()}, clock)
        self._gaps: list[Tensor] = []
        for parameter, scheduled_set in self._sets.items():
            project_in_place(scheduled_set.at(self.clock.steps), parameter)

    @property
    def gap(self) -> float:
        """The Frank-Wolfe gap ``<d, x - s>`` where the last step began, summed over all parameters and rows."""
        return sum(map(float, self._gaps)) if self._gaps else math.inf

    def _move(self, members: list[Member]) -> None:
        self._gaps = [self._move_one(*member) for member in members]

    def _move_one(self, parameter: Tensor, direction: Tensor, group: dict[str, Any]) -> Tensor:
        """Make the step of one parameter, and return its gap."""
        step = self.clock.steps
        group |= {name: float(value_at(schedule, step)) for name, schedule in self._schedules.items()}
        if group["momentum"] > 0 or "momentum" in self._schedules:
            average = self.state[parameter].setdefault("average", direction.clone())
            direction = average.lerp_(direction, 1 - group["momentum"])
        scheduled_set = self._sets[parameter]
        feasible_set = scheduled_set.at(step + 1)
        if scheduled_set.moves:
            project_in_place(feasible_set, parameter)
        vertex = minimise_linear(feasible_set, direction)
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        gap = (direction.to(dtype) * (parameter - vertex).to(dtype)).sum()
        parameter.lerp_(vertex, group["lr"])
        return gap
