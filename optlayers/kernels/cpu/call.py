"""Calls of the compiled row kernels, the C++ of `csrc/kernels`, whose `rows.h` tells how to add one."""

import torch
from torch import Tensor

from optlayers.native import compiled as _core


def is_built() -> bool:
    """Whether there are compiled kernels."""
    return _core is not None


def run(kernel: str, y: Tensor, *arrays: Tensor | None) -> None:
    """Run a kernel on rows like those of `y`, ``(rows, n)``, which say how many there are, and of which type.

    It gets the memory of the arrays, in the order given: of floating-point numbers in the type of `y`, or as the kernel
    wants them, without gaps (see `array`). Arrays of fewer rows take turns.
    """
    numbers = [y.dtype == torch.float64, torch.get_num_threads(), *y.shape]
    for tensor in arrays:
        numbers += (0, 0) if tensor is None else (tensor.data_ptr(), len(tensor))
    getattr(_core, kernel)(*numbers)


def array(tensor: Tensor, like: Tensor) -> Tensor:
    """Return numbers without gaps, in the type of another tensor."""
    return tensor.detach().to(like.dtype).contiguous().resolve_neg()


def given(tensor: Tensor | None, like: Tensor) -> Tensor | None:
    """Return `array` of data that may be absent."""
    return None if tensor is None else array(tensor, like)


def points(v: Tensor, y: Tensor) -> Tensor:
    """Return points without gaps: themselves, or copied into the result `y`; kernels may work in place."""
    return array(v, y) if v.is_contiguous() else y.copy_(v.detach())
