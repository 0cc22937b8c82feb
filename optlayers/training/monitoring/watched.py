"""What a monitor looks at: weights and activations, layers, multipliers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from optlayers.feasible_set import FeasibleSet
from optlayers.layer import ProjectionLayer
from optlayers.training.monitoring.activity import activity
from optlayers.training.monitoring.measures import (
    Measures,
    discarded_measures,
    distance_measures,
    feasible_descent,
    share,
    violation_measures,
)
from optlayers.training.priced.multipliers import Multiplier
from optlayers.training.projected.projector import Source, resolve
from optlayers.training.schedules.scheduled_set import ScheduledSet


class WatchedTensor:
    """A weight, given as a tensor or a function that returns one, or an activation that is shown at each step."""

    def __init__(self, name: str, source: Source | None, scheduled_set: ScheduledSet) -> None:
        self.name, self.source, self.scheduled_set = name, source, scheduled_set
        self.shown: Tensor | None = None
        self.gradient: Tensor | None = None
        self.moved: Measures = {}
        self.stuck: Tensor | None = None

    def show(self, tensor: Tensor) -> None:
        """Take the activation of this step, and its gradient once that is known."""
        self.scheduled_set.check(tensor, self.name)
        self.shown, self.gradient = tensor.detach(), None
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: setattr(self, "gradient", gradient.detach()))

    def show_projection(self, before: Tensor, after: Tensor) -> None:
        """Take what a projection made elsewhere has moved."""
        self.moved = distance_measures([before.detach()], [after.detach()], [len(self.scheduled_set.shape)])

    def is_of(self, tensor: Tensor) -> bool:
        """Return whether this is the tensor that is watched."""
        return self.source is not None and resolve(self.source) is tensor

    @torch.no_grad()
    def measure(self, step: int, tolerance: float, patience: int) -> Measures:
        """Return the measures of this step, none of an activation that was not shown."""
        point, gradient = self.shown, self.gradient
        if self.source is not None:
            tensor = resolve(self.source)
            self.scheduled_set.check(tensor, self.name)
            point, gradient = tensor.detach(), tensor.grad if tensor.is_leaf else None
        if point is None or not point.numel():
            return {}
        moved, self.moved, self.shown, self.gradient = self.moved, {}, None, None
        bound = self.scheduled_set.at(step)
        result = violation_measures(bound.violation(point), tolerance)
        if not bool(point.isfinite().all()):
            return result
        nearest = bound.project(point)
        result |= distance_measures([point], [nearest], [len(self.scheduled_set.shape)]) | moved
        if gradient is None or not bool(gradient.isfinite().all()):
            return result | activity(bound, [point], tolerance).measures()
        at = activity(bound, [point], tolerance, [-gradient])
        kept = [-part for part in feasible_descent(bound, [nearest], [gradient])]
        return result | at.measures() | discarded_measures([gradient], kept) | self._stuck(at.inward, patience)

    def _stuck(self, inward: Tensor | None, patience: int) -> Measures:
        """Return the share of rows that have stayed active although the gradient would leave them."""
        if inward is None or not inward.numel():
            return {}
        if self.source is None:  # samples come and go: a row is stuck if it is for the whole batch
            inward = inward.flatten(0, -2).all(0) if inward.dim() > 1 else inward
        if self.stuck is None or self.stuck.shape != inward.shape:
            self.stuck = torch.zeros_like(inward, dtype=torch.int32)
        self.stuck = torch.where(inward, self.stuck.to(inward.device) + 1, 0)
        return {"stuck": (self.stuck >= patience).float().mean()}


@dataclass(eq=False)
class Call:
    """A forward pass of a layer; `gradients`, once known, are those with respect to its outputs and its inputs."""

    bound: FeasibleSet
    before: list[Tensor]
    after: list[Tensor]
    gradients: tuple[list[Tensor], list[Tensor]] | None = None

    def measure(self, tolerance: float) -> Measures:
        """Return what is known without gradients."""
        outside = violation_measures(self.bound.violation(*self.before), tolerance)
        return {
            **{f"input_{key}": value for key, value in outside.items()},
            **distance_measures(self.before, self.after, [len(v.shape) for v in self.bound.variables]),
            **activity(self.bound, self.after, tolerance).measures(),
        }


class WatchedLayer:
    """A projection layer: what its forward passes move, and what its backward passes discard."""

    def __init__(self, layer: ProjectionLayer, is_due: Callable[[], bool]) -> None:
        self.layer, self.is_due = layer, is_due
        self.calls: list[Call] = []
        self.handles = [
            layer.register_forward_hook(self._forward, with_kwargs=True),
            layer.register_full_backward_hook(self._backward),
        ]

    def _forward(self, layer: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> None:
        if self.is_due() and torch.is_grad_enabled():  # evaluation between steps is not training
            points, bound = self.layer.feasible_set.bind_inputs(inputs, named)
            outputs = output if isinstance(output, tuple) else (output,)
            self.calls.append(Call(bound, [p.detach() for p in points], [y.detach() for y in outputs]))

    def _backward(self, layer: nn.Module, into: Any, out: Any) -> None:
        """Take the gradients with respect to inputs and outputs; calls go backward last first."""
        call = next((call for call in reversed(self.calls) if call.gradients is None), None)
        if not self.is_due() or call is None:
            return
        into = into[: len(call.bound.variables)]
        if all(g is not None and h is not None and g.shape == h.shape for g, h in zip(out, into, strict=True)):
            call.gradients = [g.detach() for g in out], [h.detach() for h in into]

    @torch.no_grad()
    def measure(self, step: int, tolerance: float, patience: int) -> Measures:
        """Return the measures of all calls of this step together."""
        calls, self.calls = self.calls, []
        if not calls:
            return {}
        each = [call.measure(tolerance) for call in calls]
        series = {key: torch.stack([measures[key] for measures in each]) for key in each[0]}
        result = {key: values.max() if key.endswith("_max") else values.mean() for key, values in series.items()}
        outer, inner, usable = [], [], []
        for call in calls:
            if call.gradients is not None:
                outer += call.gradients[0]
                inner += call.gradients[1]
                usable += feasible_descent(call.bound, call.after, call.gradients[0])
        if outer:
            result |= discarded_measures(outer, inner)
            result["gradient_usable_share"] = share(get_total_norm(usable), result["gradient"])
        return result

    def remove(self) -> None:
        """Take the hooks off the layer."""
        for handle in self.handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class WatchedMultipliers:
    """Multipliers: a module that has `Multiplier`s, parameters or else buffers, or a function that returns tensors."""

    source: nn.Module | Callable[[], Any]
    violation: Callable[[], Any] | None

    @torch.no_grad()
    def measure(self, step: int, tolerance: float, patience: int) -> Measures:
        """Return the largest multiplier and their norm, and the violation that belongs to them."""
        if isinstance(self.source, nn.Module):
            values = [part.value for part in self.source.modules() if isinstance(part, Multiplier)]
            tensors = values or list(self.source.parameters()) or list(self.source.buffers())
        else:
            tensors = _tensors(self.source())
        multipliers = [t.detach().flatten() for t in tensors if t.numel() and t.is_floating_point()]
        if not multipliers:
            return {}
        together = torch.cat(multipliers)
        # with fixed random signs, the square of the sum is on average that of the norm
        signs = torch.randint(2, (len(together),), generator=torch.Generator().manual_seed(0)) * 2 - 1
        result = {
            "multiplier_max": together.abs().max(),
            "multiplier_norm": torch.linalg.vector_norm(together),
            "multiplier_component": together @ signs.to(together),
        }
        if self.violation is not None:
            violations = torch.cat([t.detach().flatten() for t in _tensors(self.violation())])
            result |= violation_measures(violations.clamp_min(0.0), tolerance)
        return result


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a tensor, a number, or (nested) sequences and mappings of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value if isinstance(value, Tensor) else torch.as_tensor(float(value))]
