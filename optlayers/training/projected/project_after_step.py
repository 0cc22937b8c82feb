"""Projected optimisation with any torch optimizer: weights go back to their sets after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.weighted_projection import project_weighted
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.members import members_of
from optlayers.training.projected.optimizer_state import diagonal_metric, has_momentum, momentum_of
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet

Metric = Literal["euclidean", "optimizer"]
Callback = Callable[[Tensor, Tensor, Tensor, FeasibleSet, int], None]


def project_after_step(
    optimizer: Optimizer,
    constraints: Mapping[Tensor, Constraints | ScheduledSet],
    *,
    every: int = 1,
    metric: Metric = "euclidean",
    clear_momentum: bool = False,
    project_now: bool = True,
) -> ProjectedParameters:
    """Hold parameters to sets: from now on, a step of the optimizer ends with a projection.

    With gradient descent that is the projected gradient method. Steps that a `GradScaler` skips project nothing.

    Parameters
    ----------
    optimizer : Optimizer
        Any of torch's. (L-BFGS works, but its curvature pairs and line search do not see the projection.)
    constraints : dict of Parameter to (list of cvxpy.Constraint, FeasibleSet or ScheduledSet)
        Each on one variable, whose shape is the parameter's or that of its last dimensions: each row is then held to
        its own copy of the set. Steps of schedules are counted from zero, which is before the first step.
    every : int
        Project after so many steps; `handle.project()` does it in between, before an evaluation say.
    metric : {"euclidean", "optimizer"}
        Adaptive optimizers (Adam, RMSprop, Adagrad, ...) divide the step by a diagonal ``d``: a step of gradient
        descent in the metric ``sum_i d_i y_i^2``. The Euclidean projection of such a step need not decrease the loss,
        and its fixed points need not be optimal where constraints couple entries that have different ``d_i``.
        "optimizer" projects in the optimizer's own metric, ``argmin_y sum_i d_i (y_i - v_i)^2``, as the convergence
        proofs of these methods demand (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011). Boxes make no
        difference; sections of boxes, slabs, L1 and L2 balls stay closed forms; other sets take the general solver.
    clear_momentum : bool
        Averages of gradients (``m``: SGD's momentum buffer, Adam's `exp_avg`) go on to push out of the set what was
        stopped at its boundary: when the gradient turns, they must first be used up. With this option
        ``m <- J(v)' m`` whenever `v` is projected, `J` the derivative of the projection in the metric in use: entries
        held at a bound lose their momentum, a fixed sum loses the mean, and inside the set nothing changes. For
        polyhedra it is the component along the face that `v` is projected onto.
    project_now : bool
        Whether to project at once, so that training starts in the set.

    Returns
    -------
    ProjectedParameters
        To remove it, to watch it, and to save its step; also a context manager, which removes it at its end.

    Raises
    ------
    ValueError
        If a parameter is not the optimizer's, a shape does not fit, or the optimizer cannot do what is asked.
    """
    check_choice("metric", metric, Metric)
    if every < 1:
        raise ValueError(f"expected every >= 1, got {every}")
    if clear_momentum and not has_momentum(optimizer):
        raise ValueError(f"clear_momentum=True, but {type(optimizer).__name__} keeps no momentum: leave it out")
    groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    members = members_of(constraints, "project_after_step")
    for number, parameter in enumerate(members):
        if parameter not in groups:
            raise ValueError(
                f"parameter {number} of project_after_step, of shape {tuple(parameter.shape)}, is not one of this "
                "optimizer's: pass the very tensor that the optimizer was given"
            )
        if metric == "optimizer":
            diagonal_metric(optimizer, parameter, groups[parameter])
    handle = ProjectedParameters(optimizer, members, every, metric, clear_momentum)
    if project_now:
        handle.project()
    return handle


class ProjectedParameters:
    """Parameters that are projected after the steps of an optimizer; made by `project_after_step`.

    Attributes
    ----------
    step : int
        How many steps the optimizer has made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        members: Mapping[Tensor, ScheduledSet],
        every: int,
        metric: Metric,
        clear_momentum: bool,
    ) -> None:
        self.step = 0
        self._optimizer, self._members = optimizer, members
        self._every, self._metric, self._clear_momentum = every, metric, clear_momentum
        self._callbacks: list[Callback] = []
        self._hook = optimizer.register_step_post_hook(self._after_step)

    def remove(self) -> None:
        """Stop projecting; the weights stay as they are."""
        self._hook.remove()

    def on_project(self, callback: Callback) -> Callable[[], None]:
        """Call ``callback(parameter, before, after, feasible_set, step)`` at each projection of each parameter.

        `before` is a copy, `after` the parameter's own memory. Returns a function that ends it; without callbacks no
        copies are made.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    @torch.no_grad()
    def project(self) -> None:
        """Project all parameters now."""
        groups = {p: group for group in self._optimizer.param_groups for p in group["params"]}
        for number, (parameter, moving) in enumerate(self._members.items()):
            feasible_set = moving.at(self.step)
            before = parameter.detach().clone() if self._callbacks else None
            try:
                self._project(parameter, feasible_set, groups[parameter])
            except (ValueError, RuntimeError) as error:
                error.add_note(
                    f"(parameter {number} of project_after_step, of shape {tuple(parameter.shape)}, step {self.step})"
                )
                raise
            if before is not None:
                for callback in self._callbacks:
                    callback(parameter, before, parameter.detach(), feasible_set, self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on when training is resumed: the step, which schedules and `every` count."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.step = int(state["step"])

    def __enter__(self) -> ProjectedParameters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _was_skipped(optimizer):
            return
        self.step += 1
        if self.step % self._every == 0:
            self.project()

    def _project(self, parameter: Tensor, feasible_set: FeasibleSet, group: dict[str, Any]) -> None:
        target = parameter.detach()
        metric = diagonal_metric(self._optimizer, parameter, group) if self._metric == "optimizer" else None
        momentum = momentum_of(self._optimizer, parameter) if self._clear_momentum else None
        if metric is None and momentum is None:
            project_in_place(feasible_set, target)
            return
        if momentum is None:
            target.copy_(_nearest(feasible_set, target, metric))
            return
        with torch.enable_grad():
            v = target.to(torch.promote_types(target.dtype, torch.float32), copy=True).requires_grad_()
            y = _nearest(feasible_set, v, metric)
        own = momentum.buffer.to(v.dtype)
        weight = metric if momentum.is_of_steps and metric is not None else torch.ones_like(v)
        (kept,) = torch.autograd.grad(y, v, own * weight)
        momentum.buffer.copy_(kept / weight)
        target.copy_(y.detach())


def _nearest(feasible_set: FeasibleSet, v: Tensor, metric: Tensor | None) -> Tensor:
    return feasible_set.project(v) if metric is None else project_weighted(feasible_set, v, metric)


def _was_skipped(optimizer: Optimizer) -> bool:
    """Whether a GradScaler found gradients that are not finite, and left it to a fused optimizer to skip the step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
