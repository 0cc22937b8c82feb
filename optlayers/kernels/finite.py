"""A first look at values, in one pass over memory."""

from __future__ import annotations

from torch import Tensor

from optlayers.kernels import cpu
from optlayers.kernels.dispatch import find


def surely_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; False may also mean that their sum overflows."""
    kernels = find("finite", tensor) if cpu.available(tensor) and tensor.is_contiguous() else None
    return bool(tensor.detach().sum().isfinite()) if kernels is None else kernels.all_finite(tensor)
