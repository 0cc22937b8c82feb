"""Row kernels for the CPU, compiled: one module a family, with the signatures of those for GPUs."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import is_built


def available(tensor: Tensor) -> bool:
    """Whether the modules of this package were built, and take such a tensor."""
    single_or_double = tensor.dtype in (torch.float32, torch.float64)
    return tensor.numel() > 0 and single_or_double and tensor.device.type == "cpu" and is_installed()


def is_installed() -> bool:
    """Whether the kernels were built."""
    return is_built()
