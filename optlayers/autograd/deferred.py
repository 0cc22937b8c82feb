"""Values whose derivatives are computed when they are asked for, to the order that is asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optlayers.autograd.first_order import Refused
from optlayers.autograd.primal import primal
from optlayers.autograd.torch_internals import nesting
from optlayers.autograd.tracing import has_tangent, is_traced

Expansion = Callable[..., Tensor]
_REFUSAL = "third derivatives of sets of matrices are not implemented"


def deferred(value: Tensor, expand: Expansion, *inputs: Tensor | None) -> Tensor:
    """Return `value`, without derivatives, with those of ``expand(order, *inputs)`` in the inputs.

    These are differentiable torch operations whose first derivatives, and for order 2 also second ones, are those of
    the value's. Third derivatives raise NotImplementedError: of `torch.autograd` when they are asked for, of
    `torch.func` when three are nested.
    """
    given = [t for t in inputs if t is not None]
    if torch.compiler.is_compiling():  # which refuses second derivatives itself
        return _attached(value, expand(1, *inputs)) if torch.is_grad_enabled() else value
    if any(nesting(t) > 2 for t in given):
        raise NotImplementedError(_REFUSAL)
    if is_traced() or has_tangent(*given):
        return _attached(value, expand(2, *inputs))
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return _Deferred.apply(expand, value, *inputs)
    return value


def _attached(value: Tensor, expansion: Tensor) -> Tensor:
    return expansion + (value - primal(expansion))


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, expand: Expansion, value: Tensor, *inputs: Tensor | None) -> Tensor:
        ctx.expand = expand
        ctx.save_for_backward(*inputs)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        again, needed = torch.is_grad_enabled(), ctx.needs_input_grad[2:]
        with torch.enable_grad():
            leaves = [_leaf(t, need, again) for t, need in zip(ctx.saved_tensors, needed, strict=True)]
            wanted = [t for t, need in zip(leaves, needed, strict=True) if need and t is not None]
            result = ctx.expand(2 if again else 1, *leaves)
            gradients = iter(torch.autograd.grad(result, wanted, gradient, create_graph=again, allow_unused=True))
        return None, None, *(next(gradients) if need else None for need in needed)


def _leaf(tensor: Tensor | None, need: bool, again: bool) -> Tensor | None:
    """Return a view, so that no input's derivative runs through another one; of a fresh leaf for the first order."""
    if tensor is None:
        return None
    return _TwiceOnly.apply(tensor) if again else tensor.detach().requires_grad_(need).view_as(tensor)


class _TwiceOnly(torch.autograd.Function):
    """The identity on the way to a gradient's expansion: what runs back through it is a second derivative."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not (torch.is_grad_enabled() and gradient.requires_grad):
            return gradient
        return Refused.apply(gradient, _REFUSAL)
