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
    steps : int
        Iterations of an iterative method; 0 for closed forms and for cvxpylayers, which does not tell.
    """

    value: Tensor | tuple[Tensor, ...]
    status: Tensor
    residual: Tensor
    steps: int

    @property
    def solved(self) -> Tensor:
        """Whether each sample is solved, shape (*batch,)."""
        return self.status == Status.SOLVED
