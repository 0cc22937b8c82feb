"""How kernels are launched: what they are told of each tensor, and how the work is cut into programs."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_WARP = 32
_PER_THREAD = 32  # 4-byte registers of a thread that hold one tensor
_MOST_WARPS = 16
_SECTOR = 32  # bytes that memory delivers at once


@dataclass(frozen=True)
class Tile:
    """The part of the tensor that one program has: `height` rows of `width` columns, both powers of two."""

    rows: int
    n: int
    height: int
    width: int
    warps: int

    @property
    def across(self) -> int:
        """Return the number of programs that share a row."""
        return triton.cdiv(self.n, self.width)

    @property
    def programs(self) -> int:
        return triton.cdiv(self.rows, self.height) * self.across


def accumulator(tensor: Tensor) -> torch.dtype:
    """Return the type of the arithmetic."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def tile(v: Tensor, *others: Tensor | None) -> Tile:
    """Return whole rows where they fit into the registers of one program, else parts of single rows.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    others : Tensor, shape (rows or a divisor, n), or None
        What else a program holds.
    """
    rows, n = v.shape
    tensors = 2 if any(t is not None and t.stride(1) != 0 for t in others) else 1
    per_thread = _PER_THREAD // tensors // (2 if v.dtype == torch.float64 else 1)
    width = min(triton.next_power_of_2(n), _WARP * per_thread * _MOST_WARPS)
    height = max(1, _WARP * per_thread // width)
    if width >= n and v.stride(0) < v.stride(1):  # columns lie together: several rows, for whole sectors
        height = max(height, min(_SECTOR // v.element_size(), _WARP * per_thread * _MOST_WARPS // width))
    height = min(height, triton.next_power_of_2(max(rows, 1)))
    return Tile(rows, n, height, width, min(_MOST_WARPS, max(1, height * width // (_WARP * per_thread))))


def arguments(tile: Tile, points: dict[str, Tensor], **data: Tensor | None) -> dict[str, Any]:
    """Return what a kernel is told of points ``(rows, n)`` and of data ``(rows or a divisor, n)``: address and strides.

    Of data also how many rows take turns; there is no step where columns do not differ. Where the row length and all
    row strides are multiples of ``ALIGN``, the compiler must know in order to load several entries at once; so they are
    passed as multiples of it. ``ACC`` is the type of the arithmetic.
    """
    tensors = points | data
    strides = {
        name: (0, 0) if t is None else (t.stride(0) if t.shape[0] > 1 else 0, t.stride(1))
        for name, t in tensors.items()
    }
    align = math.gcd(8, tile.n, *(stride for stride, _ in strides.values()))
    told: dict[str, Any] = {"rows": tile.rows, "units": tile.n // align, "ALIGN": align}
    for name, tensor in tensors.items():
        stride, step = strides[name]
        told |= {name: tensor, f"{name}_stride": stride // align, f"{name}_step": step}
    for name, tensor in data.items():
        told |= {f"{name}_step": told[f"{name}_step"] or None, f"{name}_rows": 1 if tensor is None else len(tensor)}
    is_double = accumulator(next(iter(points.values()))) == torch.float64
    return told | {"HEIGHT": tile.height, "WIDTH": tile.width, "ACC": tl.float64 if is_double else tl.float32}


def launch(kernel: Any, programs: int, warps: int, **arguments: Any) -> None:
    """Run a kernel where its tensors are, if there is anything to do."""
    tensor = next(t for t in arguments.values() if isinstance(t, Tensor))
    if programs > 0:
        with torch.cuda.device_of(tensor):
            kernel[(programs,)](**arguments, num_warps=warps, enable_fp_fusion=False)


def numbers(**data: Tensor | None) -> dict[str, Any]:
    """Return what a kernel is told of data that are one number a row, ``(rows or a divisor,)``."""
    told: dict[str, Any] = {}
    for name, tensor in data.items():
        stride, rows = (0, 1) if tensor is None else (tensor.stride(0), tensor.shape[0])
        told |= {name: tensor, f"{name}_stride": stride, f"{name}_rows": rows}
    return told
