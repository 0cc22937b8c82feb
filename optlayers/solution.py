"""The answer of a projection with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class Status(IntEnum):
    """What became of a sample."""

    SOLVED = 0
    INFEASIBLE = 1
    """The set is empty for the sample's parameters, or the reference method found no point of it."""
    INVALID = 2
    """The point or a parameter is NaN or infinite."""
    UNSOLVED = 3
    """The general solver neither reached its accuracy nor found the set to be empty."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A projection and its certificate.

    Attributes
    ----------
    value : Tensor or tuple of Tensor
        The nearest points, one tensor per variable.
    status : Tensor of int, shape (*batch,)
        A `Status` per sample.
    residual : Tensor, shape (*batch,)
        The largest absolute residual of the constraints at `value`, in the units of each constraint.
    steps : Tensor of int, shape (*batch,)
        Iterations of the general solver; 0 for closed forms and for cvxpylayers, which does not tell.
    state : tuple of Tensor
        What a warm start takes over: the solver's own duals.
    """

    value: Tensor | tuple[Tensor, ...]
    status: Tensor
    residual: Tensor
    steps: Tensor
    state: tuple[Tensor, ...] = ()

    @property
    def solved(self) -> Tensor:
        """Whether each sample is solved, shape (*batch,)."""
        return self.status == Status.SOLVED
