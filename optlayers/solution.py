"""The answer of a projection with what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from optlayers.solvers.status import Status

__all__ = ["Solution", "Status"]


@dataclass(frozen=True, eq=False, repr=False)
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
        Iterations of the general solver until the whole batch was done; 0 for closed forms and for cvxpylayers, which
        does not tell.
    state : tuple of Tensor
        What a warm start takes over: the general solver's duals and points.
    find_dual : callable, optional
        How `dual` is computed.
    """

    value: Tensor | tuple[Tensor, ...]
    status: Tensor
    residual: Tensor
    steps: Tensor
    state: tuple[Tensor, ...] = ()
    find_dual: Callable[[], list[Tensor | tuple[Tensor, ...]]] | None = None

    @cached_property
    def dual(self) -> list[Tensor | tuple[Tensor, ...]]:
        """The dual variables, one item per constraint, with CVXPY's signs for ``minimise 1/2 ||y - v||^2``.

        An item is a tensor ``(*batch, *shape)``; for cone constraints with several arguments a tuple of them, as
        ``constraint.dual_value`` is a list. They are computed when they are first asked for, by the general solver on
        the constraints as CVXPY canonicalises them; without derivatives; NaN for samples without solution. Where duals
        are not unique, they are some.
        """
        if self.find_dual is None:
            raise ValueError("this solution does not come from `solve`, and has no duals")
        return self.find_dual()

    def __repr__(self) -> str:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        shapes = ", ".join(f"{tuple(v.shape)} {v.dtype}".replace("torch.", "") for v in values)
        parts = [f"value {shapes}", f"{int(self.solved.sum())} of {self.status.numel()} samples solved"]
        if self.status.numel():
            parts += [f"residual <= {float(self.residual.max()):.1e}", f"steps <= {int(self.steps.max())}"]
        return f"Solution({', '.join(parts)})"

    @property
    def solved(self) -> Tensor:
        """Whether each sample is solved, shape (*batch,)."""
        return self.status == Status.SOLVED
