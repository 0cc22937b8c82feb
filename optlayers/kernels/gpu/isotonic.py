"""Isotonic regression: nondecreasing rows, by merging neighbouring segments, all of one length at once.

Two nondecreasing segments that do not fit together pool, around their border, the entries of the left one above a
level and those of the right one below it (Kearsley, Tapia and Trosset, "An approach to parallelizing isotonic
regression", 1996); the level is the mean of what is pooled, the root of a monotone piecewise linear function.
This takes ``log2(n)`` levels of a few steps each, on chip, where a stack would leave a row to one thread.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.isotonic_merges import average_pair, averaged, merge_pair, merged
from optlayers.kernels.gpu.launch import Tile, accumulator, arguments, launch, tile
from optlayers.kernels.gpu.rows import load, load_data, store, tile_indices

_CHUNK = 1024


def project(v: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``argmin_y sum(weight * (y - v)^2)`` over nondecreasing `y`, and the first entry of each entry's block.

    Equal neighbours are one block. Shapes are as in `kernels.cpu`.
    """
    cut = tile(v, v if weight is None else weight)
    y = torch.empty(v.shape, dtype=v.dtype if cut.across == 1 else accumulator(v), device=v.device)
    starts = torch.empty(v.shape, dtype=torch.int64, device=v.device)
    told = arguments(cut, {"v": v, "y": y, "starts": starts}, weight=weight)
    launch(_project, cut.programs, cut.warps, **told, LEVELS=cut.width.bit_length() - 1)
    _pairs(merge_pair, cut, y, starts, weight)
    return y.to(v.dtype), starts


def pull(gradient: Tensor, starts: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the gradient of the point: the sum over each block, in the shares that its entries have of its weight."""
    cut = tile(gradient, gradient if weight is None else weight)
    dtype = gradient.dtype if cut.across == 1 else accumulator(gradient)
    out = torch.empty(gradient.shape, dtype=dtype, device=gradient.device)
    told = arguments(cut, {"gradient": gradient, "starts": starts, "out": out}, weight=weight)
    launch(_pull, cut.programs, cut.warps, **told, LEVELS=cut.width.bit_length() - 1, LAST=cut.across == 1)
    _pairs(average_pair, cut, out, starts, weight)
    if cut.across > 1 and weight is not None:
        out.view(-1, *weight.shape).mul_(weight)
    return out.to(gradient.dtype)


def _pairs(kernel, cut: Tile, x: Tensor, starts: Tensor, weight: Tensor | None) -> None:
    """Merge pairs of segments, in place, until one is left in each row; a program has a pair."""
    half, told = cut.width, arguments(cut, {"x": x, "starts": starts}, weight=weight)
    told |= {"HEIGHT": 1, "WIDTH": _CHUNK}
    while half < cut.n:
        pairs = triton.cdiv(cut.n, 2 * half)
        launch(kernel, cut.rows * pairs, 8, **told, half=half, pairs=pairs)
        half *= 2


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, starts, starts_stride, starts_step, weight, weight_stride, weight_step,
    weight_rows, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, float("inf"), ALIGN, ACC)
    w = load_data(weight, weight_stride, weight_step, row, column, weight_rows, n, 0.0, ALIGN, ACC)
    wrong = tl.max((x != x).to(tl.int32), 1) > 0
    first = column[None, :] + tl.zeros((HEIGHT, WIDTH), tl.int32)
    x, first = merged(tl.where(wrong[:, None], 0.0, x), w, first, HEIGHT, WIDTH, LEVELS, ACC)
    x = tl.where(wrong[:, None], float("nan"), x)
    store(y, y_stride, y_step, row, column, rows, n, x, ALIGN)
    store(starts, starts_stride, starts_step, row, column, rows, n, first, ALIGN)


@triton.jit
def _pull(
    gradient, gradient_stride, gradient_step, starts, starts_stride, starts_step, out, out_stride, out_step, weight,
    weight_stride, weight_step, weight_rows, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr, LEVELS: tl.constexpr, LAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    w = load_data(weight, weight_stride, weight_step, row, column, weight_rows, n, 1.0, ALIGN, ACC)
    first = load(starts, starts_stride, starts_step, row, column, rows, n, 2147483647, ALIGN, tl.int32)
    if w is not None:
        x = x / w
    x = averaged(x, w, first, column, HEIGHT, WIDTH, LEVELS, ACC)
    if LAST and w is not None:
        x = x * w
    store(out, out_stride, out_step, row, column, rows, n, x, ALIGN)
