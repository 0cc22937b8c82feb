"""The private parts of torch that are in use, each with what serves where a version of torch does not have it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

try:
    from torch._C._functorch import get_interpreter_stack
except ImportError:
    get_interpreter_stack = None
try:
    from torch._C._functorch import is_legacy_batchedtensor
except ImportError:
    is_legacy_batchedtensor = None
try:
    from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor, is_gradtrackingtensor
except ImportError:
    get_unwrapped = is_functorch_wrapped_tensor = is_gradtrackingtensor = None

try:
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
except ImportError:
    temporarily_clear_interpreter_stack = None


def outside_transforms() -> AbstractContextManager[object]:
    """Return a context in which transforms of `torch.func` are not at work, so that tensors have values; or none."""
    return nullcontext() if temporarily_clear_interpreter_stack is None else temporarily_clear_interpreter_stack()


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is at work."""
    return _refuses_old_functions() if get_interpreter_stack is None else bool(get_interpreter_stack())


def traced_as_constant(function: Callable[..., bool]) -> Callable[..., bool]:
    """Mark a function as `torch.compiler.assume_constant_result` does, which would import all of the compiler."""
    vars(function)["_dynamo_marked_constant"] = True
    return function


def may_be_batched(gradient: Tensor) -> bool:
    """Whether `torch.autograd.grad(is_grads_batched=True)` made a gradient; True where that cannot be told."""
    return is_legacy_batchedtensor is None or is_legacy_batchedtensor(gradient)


def nesting(tensor: Tensor) -> int:
    """Return how many transforms of `torch.func` ask for derivatives in a tensor; 0 where that cannot be told."""
    if get_unwrapped is None or is_functorch_wrapped_tensor is None or is_gradtrackingtensor is None:
        return 0
    count = 0
    while is_functorch_wrapped_tensor(tensor):
        count += is_gradtrackingtensor(tensor)
        tensor = get_unwrapped(tensor)
    return count


class _OldFunction(torch.autograd.Function):
    """A function without `setup_context`, which transforms of `torch.func` refuse."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient


def _refuses_old_functions() -> bool:
    try:
        _OldFunction.apply(torch.empty(()))
    except RuntimeError:
        return True
    return False
