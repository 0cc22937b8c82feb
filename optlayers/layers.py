"""The projection as an `nn.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
from torch import Tensor, nn

from optlayers.explanation import summarise
from optlayers.feasible_set import FeasibleSet, Method, OnFailure
from optlayers.solution import Solution
from optlayers.warm_start import WarmStart


class ProjectionLayer(nn.Module):
    """A layer that returns the nearest feasible point, ``argmin_y ||y - v||_2`` over the set.

    It has no weights and no state: constants follow the dtype and the device of the input.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint, or FeasibleSet
    variables, parameters, method, on_failure, validate
        As for `FeasibleSet`; with a `FeasibleSet`, leave them out.

    Examples
    --------
    >>> import cvxpy as cp, torch
    >>> from optlayers import ProjectionLayer
    >>> w = cp.Variable(3, name="w")
    >>> layer = ProjectionLayer([w >= 0, cp.sum(w) == 1])
    >>> layer(torch.tensor([0.6, 0.8, -1.0]))
    tensor([0.4000, 0.6000, 0.0000])
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint | FeasibleSet,
        variables: cp.Variable | Sequence[cp.Variable] | None = None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None = None,
        *,
        method: Method = "auto",
        on_failure: OnFailure = "raise",
        validate: bool = True,
    ) -> None:
        super().__init__()
        options = {"method": method, "on_failure": on_failure, "validate": validate}
        if not isinstance(constraints, FeasibleSet):
            constraints = FeasibleSet(constraints, variables, parameters, **options)
        elif variables is not None or parameters is not None or options != _DEFAULTS:
            raise ValueError("a FeasibleSet carries its variables, parameters and options: pass them to it instead")
        self.feasible_set = constraints

    def forward(self, /, *inputs: Tensor, **parameters: Any) -> Any:
        """Return the nearest feasible point of each sample.

        Parameters
        ----------
        *inputs : Tensor
            One point ``(*batch, *variable.shape)`` per variable, then parameter values ``(*batch, *parameter.shape)``
            in order. Batch dimensions broadcast.
        **parameters : Tensor or number
            Parameter values by name.

        Returns
        -------
        Tensor or tuple of Tensor
            In the shape of the points, of their dtype and on their device; a tuple if there are several variables.

        Raises
        ------
        ValueError, InfeasibleError
            As `FeasibleSet.project`.
        """
        points, bound = self._split(inputs, parameters)
        return bound.project(*points)

    def solve(self, /, *inputs: Tensor, warm_start: Solution | WarmStart | None = None, **parameters: Any) -> Solution:
        """Return the projection with its certificate; arguments as for `forward` and `FeasibleSet.solve`."""
        points, bound = self._split(inputs, parameters)
        return bound.solve(*points, warm_start=warm_start)

    def _split(self, inputs: Sequence[Tensor], named: dict[str, Any]) -> tuple[Sequence[Tensor], FeasibleSet]:
        count = len(self.feasible_set.variables)
        points, values = inputs[:count], inputs[count:]
        return points, self.feasible_set.bind(*values, **named) if values or named else self.feasible_set

    @property
    def method(self) -> str:
        """The method in use, see `FeasibleSet.method`."""
        return self.feasible_set.method

    def explain(self) -> str:
        """Say in words what was recognised, see `FeasibleSet.explain`."""
        return self.feasible_set.explain()

    def extra_repr(self) -> str:
        """Return what `print(net)` shows: variables, parameters, what was recognised, and the method."""
        names = ", ".join(f"{v.name()} {tuple(v.shape)}" for v in self.feasible_set.variables)
        given = ", ".join(p.name() for p in self.feasible_set.parameters)
        described = summarise(self.feasible_set._compiled)
        exact = "exact" if self.method == "closed_form" else "iterative"
        return f"{names}{' given ' + given if given else ''}: {described}, method={self.method} ({exact})"


_DEFAULTS = {"method": "auto", "on_failure": "raise", "validate": True}
