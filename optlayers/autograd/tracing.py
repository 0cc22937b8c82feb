"""What may be asked of tensors: whether their values can be looked at, and whether they carry derivatives."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from optlayers.autograd.torch_internals import is_transformed


def is_traced() -> bool:
    """Whether values cannot be looked at: inside torch.compile, torch.export or a torch.func transform."""
    return torch.compiler.is_compiling() or is_transformed()


def has_tangent(*tensors: Tensor) -> bool:
    """Whether some tensor carries a derivative of forward mode."""
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def may_need_derivative(tensor: Tensor) -> bool:
    """Whether a derivative of either mode may be asked for."""
    return (tensor.requires_grad and torch.is_grad_enabled()) or has_tangent(tensor)
