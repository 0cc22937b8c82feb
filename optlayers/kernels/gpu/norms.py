"""Norms and inner products of rows: on chip, and of parts of rows, with no over- or underflow."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import Tile, accumulator, arguments, launch, numbers
from optlayers.kernels.gpu.rows import load, load_number, tile_indices


def long_norms(cut: Tile, v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the norms of rows that several programs share, ``(rows,)``; without the entry whose number is `head`."""
    largest = torch.empty(cut.rows, cut.across, dtype=torch.float64, device=v.device)
    square, told = torch.empty_like(largest), arguments(cut, {"v": v}) | numbers(head=head)
    launch(_norms, cut.programs, cut.warps, **told, largest=largest, square=square)
    most = largest.amax(-1, keepdim=True)
    weight = (largest / torch.where(most > 0, most, 1.0)).square()
    return (most.squeeze(-1) * (weight * square).sum(-1).sqrt()).to(accumulator(v))


def long_products(cut: Tile, v: Tensor, gradient: Tensor, norm: Tensor, head: Tensor | None = None) -> Tensor:
    """Return ``v / norm @ gradient`` of rows that several programs share, ``(rows,)``, as `long_norms` does."""
    sums = torch.empty(cut.rows, cut.across, dtype=torch.float64, device=v.device)
    told = arguments(cut, {"v": v, "gradient": gradient}) | numbers(head=head)
    launch(_products, cut.programs, cut.warps, **told, norm=norm, sums=sums)
    return sums.sum(-1).to(norm.dtype)


@triton.jit
def norm_of(x, ACC: tl.constexpr):
    """Return the Euclidean norms of rows, ``(HEIGHT,)``; NaN where an entry is."""
    largest, square = scaled_square(x, ACC)
    return largest * tl.sqrt(square)


@triton.jit
def scaled_square(x, ACC: tl.constexpr):
    """Return the largest absolute entry of rows, 1 for zeros, and the sum of squares divided by its square."""
    largest = tl.max(tl.abs(x), 1)
    largest = tl.where(largest > 0, largest, 1.0)
    scaled = x / largest[:, None]
    return largest, tl.sum(scaled * scaled, 1)


@triton.jit
def direction(x, norm):
    """Return rows divided by their norm, zeros where that is zero."""
    return x / tl.where(norm > 0, norm, tl.where(norm == norm, 1.0, norm))[:, None]


@triton.jit
def _norms(
    v, v_stride, v_step, head, head_stride, head_rows, largest, square, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    if head is not None:
        top = load_number(head, head_stride, row, head_rows, tl.int32)
        x = tl.where(column[None, :] == top[:, None], 0.0, x)
    size, sum_of_squares = scaled_square(x, ACC)
    here = row * tl.cdiv(n, WIDTH) + part
    tl.store(largest + here, tl.where(sum_of_squares == 0, 0.0, size).to(tl.float64), mask=row < rows)
    tl.store(square + here, sum_of_squares.to(tl.float64), mask=row < rows)


@triton.jit
def _products(
    v, v_stride, v_step, gradient, gradient_stride, gradient_step, head, head_stride, head_rows, norm, sums, rows,
    units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, part = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    if head is not None:
        top = load_number(head, head_stride, row, head_rows, tl.int32)
        x = tl.where(column[None, :] == top[:, None], 0.0, x)
    length = tl.load(norm + tl.minimum(row, rows - 1)).to(ACC)
    product = tl.sum(direction(x, length) * g, 1)
    tl.store(sums + row * tl.cdiv(n, WIDTH) + part, product.to(tl.float64), mask=row < rows)
