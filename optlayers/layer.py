"""The projection as an `nn.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import cvxpy as cp
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet, Method, OnFailure
from optlayers.projection.explanation import summarise
from optlayers.solution import Solution
from optlayers.warm_start import WarmStart

Gradient = Literal["exact", "straight_through"]


class ProjectionLayer(nn.Module):
    """A layer that returns the nearest feasible point, ``argmin_y ||y - v||_2`` over the set.

    It has no weights and no state: constants follow the dtype and the device of the input.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint, or FeasibleSet
    variables, parameters, method, on_failure, validate
        As for `FeasibleSet`; with a `FeasibleSet`, leave them out.
    gradient : {"exact", "straight_through"}
        What the points get in the backward pass. "exact" is the projection's own derivative. It is zero across active
        constraints, so that a point far outside a corner gets no gradient at all, and training stalls there.
        "straight_through" hands the gradient through unchanged: biased, but never zero. On a free tensor with SGD that
        is dual averaging, which reaches the optimum of a convex loss. Parameters always get the exact gradient.
    pull : float
        The weight of a pull toward the set: ``pull * (v - P(v))``, the gradient of ``pull / 2 * ||v - P(v)||^2``, is
        added to the gradient of each point, as soon as the result gets one. It does not change what is computed; it
        brings points back to where the exact gradient tells directions apart. It is not scaled with the loss, has first
        derivatives only, and none in forward mode: with a GradScaler, or for second derivatives, add ``distance`` to
        the loss instead.

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
        gradient: Gradient = "exact",
        pull: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("gradient", gradient, Gradient)
        if not 0 <= pull < float("inf"):
            raise ValueError(f"pull: expected a finite number that is not negative, got {pull}")
        options = {"method": method, "on_failure": on_failure, "validate": validate}
        if not isinstance(constraints, FeasibleSet):
            constraints = FeasibleSet(constraints, variables, parameters, **options)
        elif variables is not None or parameters is not None or options != _DEFAULTS:
            raise ValueError("a FeasibleSet carries its variables, parameters and options: pass them to it instead")
        self.feasible_set = constraints
        self.gradient, self.pull = gradient, pull

    @overload
    def forward(self, point: Tensor, /, **parameters: Any) -> Tensor: ...

    @overload
    def forward(self, /, *inputs: Tensor, **parameters: Any) -> Any: ...

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
        points, bound = self.feasible_set.bind_inputs(inputs, parameters)
        if self.gradient == "exact" and not self.pull:
            return bound.project(*points)
        through = self.gradient == "straight_through"
        nearest = _as_tuple(bound.project(*(point.detach() if through else point for point in points)))
        if through:  # what is added is zero, and has the derivative of the point
            nearest = tuple(y + (v - v.detach()) for y, v in zip(nearest, points, strict=True))
        if self.pull:
            pulled = _Pulled if torch.compiler.is_compiling() else _PulledInBothModes
            pairs = zip(nearest, points, strict=True)
            nearest = tuple(pulled.apply(y, v, self.pull * (v - y).detach()) for y, v in pairs)
        return nearest if len(nearest) > 1 else next(iter(nearest))

    if TYPE_CHECKING:
        __call__ = forward

    def distance(self, /, *inputs: Tensor, **parameters: Any) -> Tensor:
        """Return ``||v - P(v)||^2 / 2`` per sample, ``(*batch,)``: a term for the loss; arguments as for `forward`.

        Its gradient is ``v - P(v)``, of any point; it is what `pull` adds, where one loss must have it.
        """
        points, bound = self.feasible_set.bind_inputs(inputs, parameters)
        nearest = _as_tuple(bound.project(*points))
        halves = [
            (v - y).square().flatten(y.ndim - len(variable.shape)).sum(-1) / 2 if variable.shape else (v - y) ** 2 / 2
            for y, v, variable in zip(nearest, points, self.feasible_set.variables, strict=True)
        ]
        return torch.stack(torch.broadcast_tensors(*halves)).sum(0)

    def solve(self, /, *inputs: Tensor, warm_start: Solution | WarmStart | None = None, **parameters: Any) -> Solution:
        """Return the projection with its certificate; arguments as for `forward` and `FeasibleSet.solve`."""
        points, bound = self.feasible_set.bind_inputs(inputs, parameters)
        return bound.solve(*points, warm_start=warm_start)

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
        described = summarise(self.feasible_set.compiled)
        exact = "exact" if self.method == "closed_form" else "iterative"
        gradient = "" if self.gradient == "exact" else f", gradient={self.gradient}"
        pull = f", pull={self.pull}" if self.pull else ""
        given = f" given {given}" if given else ""
        return f"{names}{given}: {described}, method={self.method} ({exact}){gradient}{pull}"


class _Pulled(torch.autograd.Function):
    """Return `y`; in the backward pass, `v` gets `extra` besides what it gets through `y`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, v: Tensor, extra: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _, v, extra = inputs
        ctx.save_for_backward(extra)
        ctx.shape = v.shape

    @staticmethod
    @once_differentiable  # which hides the names of the arguments
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        (extra,) = ctx.saved_tensors
        return grad_outputs[0], extra.sum_to_size(ctx.shape), None


class _PulledInBothModes(_Pulled):
    """The same with a forward mode, which has no pull; `torch.compile` does not take such a function."""

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> Tensor:
        return grad_inputs[0].view_as(grad_inputs[0])


def _as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


_DEFAULTS = {"method": "auto", "on_failure": "raise", "validate": True}
