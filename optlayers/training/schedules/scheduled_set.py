"""A feasible set whose values are schedules."""

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.training.schedules.schedules import value_at


class ScheduledSet:
    """A feasible set whose parameters are functions of the training's step, see `Clock`.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint, or FeasibleSet
        On one variable.
    **parameters : number, Tensor, or function of the step that returns one
        Values of the CVXPY parameters, by name.

    Raises
    ------
    ValueError
        If there are several variables, or a parameter has no value.
    """

    def __init__(
        self, constraints: FeasibleSet | cp.Constraint | Sequence[cp.Constraint | bool], **parameters: Any
    ) -> None:
        base = constraints if isinstance(constraints, FeasibleSet) else FeasibleSet(constraints)
        if len(base.variables) != 1:
            names = ", ".join(v.name() for v in base.variables)
            raise ValueError(f"expected constraints on one variable, got {names}; pass variables=... to FeasibleSet")
        constant = {name: value for name, value in parameters.items() if not callable(value)}
        self._schedules = {name: value for name, value in parameters.items() if callable(value)}
        self._base = base.bind(**constant) if constant else base
        missing = [p.name() for p in self.at(0).unbound]
        if missing:
            raise ValueError(
                f"no value for the parameters {', '.join(missing)}: bind them, or pass "
                f"ScheduledSet(constraints, {missing[0]}=...) a number or a function of the step"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the variable."""
        return tuple(self._base.variables[0].shape)

    @property
    def moves(self) -> bool:
        """Whether the set depends on the step."""
        return bool(self._schedules)

    def at(self, step: int) -> FeasibleSet:
        """Return the set at a step."""
        if not self._schedules:
            return self._base
        return self._base.bind(**{name: value_at(schedule, step) for name, schedule in self._schedules.items()})

    def check(self, tensor: Tensor, name: str) -> None:
        """Raise ValueError unless the variable's shape is that of the tensor, or of a trailing part of it."""
        shape, arrived = self.shape, tuple(tensor.shape)
        if arrived[len(arrived) - len(shape) :] != shape:
            raise ValueError(
                f"{name} has the shape {arrived}, the variable {shape}: expected the same shape, or that of the "
                "tensor's last dimensions (each row then gets its own copy of the set)"
            )
        if not tensor.is_floating_point():
            raise ValueError(f"{name}: expected a floating-point tensor, got {tensor.dtype}")


Constraints = ScheduledSet | FeasibleSet | cp.Constraint | Sequence[cp.Constraint | bool]


def as_scheduled_set(constraints: Constraints) -> ScheduledSet:
    """Return constraints, a feasible set or a scheduled set as a scheduled set."""
    return constraints if isinstance(constraints, ScheduledSet) else ScheduledSet(constraints)
