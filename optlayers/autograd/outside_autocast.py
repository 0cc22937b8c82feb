"""Functions whose derivatives, like their values, are computed outside autocast.

Autocast acts where an operation runs, and those of a backward pass run where `backward` is called: switched off around
the function alone, matrix products of its derivatives would still be rounded to half types.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from optlayers.autograd.tracing import has_tangent, is_traced, may_need_derivative

Function = Callable[..., tuple[Tensor, ...]]


def outside_autocast(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)``; autocast touches neither the value nor derivatives of any order and mode.

    Where derivatives are not the autograd engine's alone (inside torch.compile, transforms of `torch.func`, forward
    mode), the function gets its inputs in double precision, which autocast leaves alone.
    """
    device = inputs[0].device.type
    if not torch.is_autocast_enabled(device):
        return function(*inputs)
    with torch.autocast(device, enabled=False):
        if is_traced() or has_tangent(*inputs):
            wide = inputs if device == "mps" else [t.double() for t in inputs]  # which has no double precision
            return function(*wide).to(inputs[0].dtype)
        if not any(may_need_derivative(t) for t in inputs):
            return function(*inputs)
        return _Outside.apply(lambda *tensors: (function(*tensors),), device, *inputs)[0]


class _Outside(torch.autograd.Function):
    """Runs a function on fresh leaves, and its graph, or for higher derivatives the function again, in `backward`."""

    @staticmethod
    def forward(ctx: Any, function: Function, device: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(t.requires_grad) for t in inputs]
            results = function(*leaves)
        ctx.function, ctx.device, ctx.graph = function, device, (leaves, results)
        ctx.save_for_backward(*inputs)
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        needed, function, (inputs, results) = ctx.needs_input_grad[2:], ctx.function, ctx.graph

        def pull(*tensors: Tensor) -> tuple[Tensor, ...]:
            """Pull gradients, the last tensors, back again, differentiably."""
            again = tensors[: len(needed)]
            return _pull(again, function(*again), needed, tensors[len(needed) :], again=True)

        with torch.autocast(ctx.device, enabled=False):
            if torch.is_grad_enabled():
                pulled = _Outside.apply(pull, ctx.device, *ctx.saved_tensors, *gradients)
            else:
                pulled = _pull(inputs, results, needed, gradients)
        parts = iter(pulled)
        return None, None, *(next(parts) if need else None for need in needed)


def _pull(
    inputs: Sequence[Tensor],
    results: Sequence[Tensor],
    needed: Sequence[bool],
    gradients: Sequence[Tensor],
    *,
    again: bool = False,
) -> tuple[Tensor, ...]:
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
    chosen = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad]
    if not chosen:
        return tuple(torch.zeros_like(t) for t in wanted)
    outputs, grads = zip(*chosen, strict=True)
    return torch.autograd.grad(
        outputs, wanted, grads, retain_graph=True, create_graph=again, allow_unused=True, materialize_grads=True
    )
