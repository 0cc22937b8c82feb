"""A mark for results whose second derivatives are not known: asking for them raises, instead of giving wrong ones."""

from typing import Any

import torch
from torch import Tensor

_MESSAGE = (
    "second derivatives of the projection onto a set with cones are not implemented: its first derivatives are exact, "
    "but their own dependence on the inputs is not tracked"
)


def first_order(result: Tensor, *inputs: Tensor) -> Tensor:
    """Return `result`, ``(samples, n)``; differentiating its derivatives in the `inputs` raises NotImplementedError."""
    if torch.compiler.is_compiling():  # which refuses second derivatives itself
        return result
    for tensor in inputs:
        result = result + _Zero.apply(tensor)
    return result


class _Zero(torch.autograd.Function):
    """A zero that depends on a tensor; its derivative is zero, and cannot be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return tensor.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (tensor,) = ctx.saved_tensors
        return Refused.apply(torch.zeros_like(tensor), _MESSAGE, gradient, tensor)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tangent.new_zeros(())


class Refused(torch.autograd.Function):
    """A value that depends on tensors by a derivative that is refused, with a message."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, message: str, *tensors: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.message = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError(ctx.message)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Any:
        raise NotImplementedError(ctx.message)
