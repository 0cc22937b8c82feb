"""Projection of tensors onto their sets, at the steps of a clock: what all who project have in common."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.weighted_projection import project_weighted
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.optimizer_state import averages_steps, diagonal_metric, has_momentum, momentum_of
from optlayers.training.schedules.arguments import check_count
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import ScheduledSet

Metric = Literal["euclidean", "optimizer"]
Source = Tensor | Callable[[], Tensor]
Callback = Callable[[Tensor, Tensor, Tensor, FeasibleSet, int], None]
Owners = dict[Tensor, tuple[Optimizer, dict[str, Any]]]


class Projector:
    """Tensors that are replaced by their nearest points in their sets, at the steps of a clock.

    The `members`, tensors or functions that return them with their sets, have the names that messages give them; the
    options are those of `project_after_step`.
    """

    def __init__(
        self,
        members: Mapping[str, tuple[Source, ScheduledSet]],
        clock: Clock,
        *,
        every: int = 1,
        metric: Metric = "euclidean",
        clear_momentum: bool = False,
    ) -> None:
        check_choice("metric", metric, Metric)
        self.members: Mapping[str, tuple[Source, ScheduledSet]] = members
        self.clock = clock
        self.every, self.metric, self.clear_momentum = check_count("every", every), metric, bool(clear_momentum)
        self._callbacks: list[tuple[Callback, Callable[[], bool] | None]] = []

    def check(self, optimizers: Sequence[Optimizer]) -> None:
        """Raise ValueError unless each tensor is in one of the optimizers, which can do what the options ask."""
        owners = _owners(optimizers)
        for name, (source, _) in self.members.items():
            self._state(name, resolve(source), owners)

    def after_step(self, optimizers: Sequence[Optimizer] = ()) -> None:
        """Project, if this step of the clock is one of every so many."""
        if self.clock.steps % self.every == 0:
            self.project(optimizers)

    @torch.no_grad()
    def project(self, optimizers: Sequence[Optimizer] = ()) -> None:
        """Project all tensors now; the options other than the default ones need the optimizers."""
        owners = _owners(optimizers) if self._needs_optimizer else {}
        step = self.clock.steps
        for name, (source, scheduled_set) in self.members.items():
            tensor, feasible_set = resolve(source), scheduled_set.at(step)
            callbacks = [callback for callback, is_wanted in self._callbacks if is_wanted is None or is_wanted()]
            before = tensor.detach().clone() if callbacks else tensor
            try:
                self._project(name, tensor, feasible_set, owners)
            except (ValueError, RuntimeError) as error:
                error.add_note(f"({name}, of shape {tuple(tensor.shape)}, step {step})")
                raise
            for callback in callbacks:
                callback(tensor, before, tensor.detach(), feasible_set, step)

    def on_project(self, callback: Callback, is_wanted: Callable[[], bool] | None = None) -> Callable[[], None]:
        """Call ``callback(parameter, before, after, feasible_set, step)`` at each projection of each parameter.

        `before` is a copy, `after` the parameter's own memory. Returns a function that ends it; without callbacks,
        and where `is_wanted` says no, no copies are made.
        """
        entry = (callback, is_wanted)
        self._callbacks.append(entry)
        return partial(self._callbacks.remove, entry)

    @property
    def _needs_optimizer(self) -> bool:
        return self.metric == "optimizer" or self.clear_momentum

    def _state(self, name: str, tensor: Tensor, owners: Owners) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the metric of the optimizer's step, the momentum to clear, and what that is divided by."""
        if tensor not in owners:
            arrived = "is not one of this optimizer's" if owners else "needs the optimizer for these options"
            raise ValueError(
                f"{name}, of shape {tuple(tensor.shape)}, {arrived}: pass the very tensor that the optimizer was "
                "given, and the optimizer whose steps are projected, as in constrained.step(optimizer)"
            )
        optimizer, group = owners[tensor]
        if self.clear_momentum and not has_momentum(optimizer):
            raise ValueError(f"clear_momentum=True, but {type(optimizer).__name__} keeps no momentum: leave it out")
        metric = diagonal_metric(optimizer, tensor, group) if self.metric == "optimizer" else None
        momentum = momentum_of(optimizer, tensor) if self.clear_momentum else None
        return metric, momentum, metric if averages_steps(optimizer) else None

    def _project(self, name: str, tensor: Tensor, feasible_set: FeasibleSet, owners: Owners) -> None:
        target = tensor.detach()
        metric, momentum, divisor = self._state(name, tensor, owners) if self._needs_optimizer else (None, None, None)
        if momentum is None:
            if metric is None:
                project_in_place(feasible_set, target)
            else:
                target.copy_(project_weighted(feasible_set, target, metric))
            return
        with torch.enable_grad():
            v = target.to(torch.promote_types(target.dtype, torch.float32), copy=True).requires_grad_()
            y = feasible_set.project(v) if metric is None else project_weighted(feasible_set, v, metric)
        divisor = torch.ones_like(v) if divisor is None else divisor
        (kept,) = torch.autograd.grad(y, v, momentum.to(v.dtype) * divisor)
        momentum.copy_(kept / divisor)
        target.copy_(y.detach())


def resolve(source: Source) -> Tensor:
    """Return the tensor of a source."""
    return source if isinstance(source, Tensor) else source()


def _owners(optimizers: Sequence[Optimizer]) -> Owners:
    return {
        p: (optimizer, group) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    }
