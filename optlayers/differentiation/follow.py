"""An answer as a function whose derivative is a given symmetric linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def follow(value: Tensor, v: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `value` as a function of `v`, near which it is affine; `derivative` is called in the backward pass only.

    This saves the graph of `reattach` where the points alone carry derivatives, in reverse mode.
    """
    return _Follow.apply(v, value, derivative)


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, value: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.derivative = derivative
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.derivative(gradient), None, None
