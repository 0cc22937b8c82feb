"""What a monitor looks at: weights and activations, layers, multipliers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optlayers.layer import ProjectionLayer
from optlayers.training.monitoring.activity import activity
from optlayers.training.monitoring.measures import (
    Measures,
    discarded_measures,
    distance_measures,
    feasible_descent,
    norm,
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
            tensor.register_hook(self._take_gradient)

    def _take_gradient(self, gradient: Tensor) -> None:
        self.gradient = gradient.detach()

    def show_projection(self, before: Tensor, after: Tensor) -> None:
        """Take what a projection made elsewhere has moved."""
        self.moved = distance_measures([before], [after], [len(self.scheduled_set.shape)])

    def is_of(self, tensor: Tensor) -> bool:
        """Return whether this is the tensor that is watched."""
        return self.source is not None and resolve(self.source) is tensor

    def _current(self) -> tuple[Tensor | None, Tensor | None]:
        if self.source is None:
            return self.shown, self.gradient
        tensor = resolve(self.source)
        self.scheduled_set.check(tensor, self.name)
        return tensor.detach(), tensor.grad if tensor.is_leaf else None

    @torch.no_grad()
    def measure(self, step: int, tolerance: float, patience: int) -> Measures:
        """Return the measures of this step, none of an activation that was not shown."""
        point, gradient = self._current()
        if point is None or not point.numel():
            return {}
        bound = self.scheduled_set.at(step)
        result = violation_measures(bound.violation(point), tolerance)
        if bool(point.isfinite().all()):
            nearest = bound.project(point)
            result |= distance_measures([point], [nearest], [len(self.scheduled_set.shape)]) | self.moved
            known = gradient is not None and bool(gradient.isfinite().all())
            descent = [-gradient] if gradient is not None and known else None
            found = activity(bound, [point], tolerance, descent)
            result |= {
                "active": found.active.to(point.dtype).mean(),
                "pinned": (found.held >= 1).to(point.dtype).mean(),
            }
            if gradient is not None and known:
                kept = [-part for part in feasible_descent(bound, [nearest], [gradient])]
                result |= discarded_measures([gradient], kept)
                result |= self._stuck(found.inward, patience)
        self.shown = self.gradient = None
        self.moved = {}
        return result

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


class WatchedLayer:
    """A projection layer: what its forward passes move, and what its backward passes discard."""

    def __init__(self, layer: ProjectionLayer, is_due: Callable[[], bool]) -> None:
        self.is_due = is_due
        self.calls: list[tuple[Any, tuple[Tensor, ...], tuple[Tensor, ...]]] = []
        self.gradients: list[tuple[list[Tensor], list[Tensor], Any, tuple[Tensor, ...]]] = []
        self.handles = [
            layer.register_forward_hook(self._forward, with_kwargs=True),
            layer.register_full_backward_hook(self._backward),
        ]

    def _forward(self, layer: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> None:
        if not self.is_due() or not torch.is_grad_enabled():  # evaluation between steps is not training
            return
        assert isinstance(layer, ProjectionLayer)
        points, bound = layer.feasible_set.bind_inputs(inputs, named)
        after = output if isinstance(output, tuple) else (output,)
        self.calls.append((bound, tuple(p.detach() for p in points), tuple(a.detach() for a in after)))

    def _backward(self, layer: nn.Module, into: Any, out: Any) -> None:
        """Take the gradients with respect to inputs and outputs; calls go backward last first."""
        if not self.is_due() or len(self.calls) <= len(self.gradients):
            return
        assert isinstance(layer, ProjectionLayer)
        count = len(layer.feasible_set.variables)
        bound, _, after = self.calls[len(self.calls) - 1 - len(self.gradients)]
        pairs = [(g, h) for g, h in zip(out, into[:count], strict=False) if g is not None and h is not None]
        if len(pairs) == count and all(g.shape == h.shape for g, h in pairs):
            self.gradients.append(([g.detach() for g, _ in pairs], [h.detach() for _, h in pairs], bound, after))

    @torch.no_grad()
    def measure(self, step: int, tolerance: float, patience: int) -> Measures:
        """Return the measures of all calls of this step together."""
        calls, gradients = self.calls, self.gradients
        self.calls, self.gradients = [], []
        if not calls:
            return {}
        found = [self._measure_call(*call, tolerance) for call in calls]
        result = {key: torch.stack([one[key] for one in found]).mean() for key in found[0]}
        result |= {key: torch.stack([one[key] for one in found]).max() for key in found[0] if key.endswith("_max")}
        if gradients:
            outer = [g for whole, _, _, _ in gradients for g in whole]
            result |= discarded_measures(outer, [h for _, kept, _, _ in gradients for h in kept])
            usable = [d for whole, _, bound, after in gradients for d in feasible_descent(bound, after, whole)]
            whole = result["gradient"]
            result["gradient_usable_share"] = torch.where(whole > 0, norm(usable) / whole, torch.zeros_like(whole))
        return result

    @staticmethod
    def _measure_call(bound: Any, before: tuple[Tensor, ...], after: tuple[Tensor, ...], tolerance: float) -> Measures:
        events = [len(variable.shape) for variable in bound.variables]
        outside = violation_measures(bound.violation(*before), tolerance)
        held = activity(bound, after, tolerance)
        pinned = (held.held >= 1).to(after[0].dtype)
        return {
            **{f"input_{key}": value for key, value in outside.items()},
            **distance_measures(before, after, events),
            "active": held.active.to(pinned.dtype).mean(),
            "pinned": pinned.mean(),
        }

    def remove(self) -> None:
        """Take the hooks off the layer."""
        for handle in self.handles:
            handle.remove()


class WatchedMultipliers:
    """Multipliers: a module that has `Multiplier`s, parameters or else buffers, or a function that returns tensors."""

    def __init__(self, source: nn.Module | Callable[[], Any], violation: Callable[[], Any] | None) -> None:
        self.source, self.violation = source, violation

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
        sizes = [t.abs() for t in multipliers]
        result = {
            "multiplier_max": torch.stack([s.max() for s in sizes]).max(),
            "multiplier_norm": norm(sizes),
            "multiplier_component": _component(torch.cat(multipliers)),
        }
        if self.violation is not None:
            parts = [t.detach().flatten() for t in _tensors(self.violation())]
            result |= violation_measures(torch.cat(parts).clamp_min(0.0), tolerance)
        return result


def _component(vector: Tensor) -> Tensor:
    """Return the sum with fixed random signs, whose square is on average the norm's."""
    signs = torch.randint(2, (len(vector),), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return vector @ signs.to(vector)


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a tensor, a number, or (nested) sequences and mappings of them."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return list(itertools.chain.from_iterable(_tensors(part) for part in value.values()))
    if isinstance(value, (list, tuple)):
        return list(itertools.chain.from_iterable(_tensors(part) for part in value))
    return [torch.as_tensor(float(value))]
