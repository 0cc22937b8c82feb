"""Kernels in Triton, one module per family; the plain torch forms in `optlayers/sets` are their specification.

Every kernel takes points ``(rows, n)`` of any strides, and data whose rows take turns (one for all, one each, or a
divisor of these); float16, bfloat16 and float32 arithmetic is done in float32, float64 arithmetic in float64. A row
that fits on chip is read once and written once, without the host looking at anything; longer rows are shared by many
programs, in passes.

Data that are one number a row, expanded to ``(rows, n)``, are read as such.
"""

from functools import cache
from importlib.util import find_spec

from torch import Tensor


def available(tensor: Tensor) -> bool:
    """Whether the modules of this package can be imported and work on such a tensor."""
    return tensor.is_cuda and tensor.is_floating_point() and is_installed()


@cache
def is_installed() -> bool:
    """Whether Triton is; CUDA builds of torch bring it."""
    return find_spec("triton") is not None
