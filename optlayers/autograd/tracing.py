"""What may be asked of tensors: whether their values can be looked at, and whether they carry derivatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.autograd import forward_ad


def is_traced() -> bool:
    """Whether values cannot be looked at: inside torch.compile, torch.export or a torch.func transform."""
    return torch.compiler.is_compiling() or retrieve_all_functorch_interpreters() != []


def may_need_derivative(tensor: Tensor) -> bool:
    """Whether a derivative of either mode may be asked for."""
    return (tensor.requires_grad and torch.is_grad_enabled()) or forward_ad.unpack_dual(tensor).tangent is not None
