"""An answer as a function whose derivative is a given symmetric linear map."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def follow(value: Tensor, v: Tensor, derivative: Callable[..., Tensor], *saved: Tensor) -> Tensor:
    """Return `value` as a function of `v`, near which it is affine.

    ``derivative(gradient, *saved)`` is called in the backward pass only; it takes `value` from `saved`, where changes
    of the result in place are noticed. This saves the graph of a formula where the points alone carry derivatives, in
    reverse mode.
    """
    return _Follow.apply(v, [value], derivative, saved)


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, v: Tensor, holder: list[Tensor], derivative: Callable[..., Tensor], saved: tuple[Tensor, ...]
    ) -> Tensor:
        ctx.derivative = derivative
        ctx.save_for_backward(*saved)
        return holder[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.derivative(gradient, *ctx.saved_tensors), None, None, None
