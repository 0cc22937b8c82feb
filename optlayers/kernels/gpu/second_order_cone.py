"""Second-order cones: ``{y : ||x|| <= t}``, the head `t` being one entry of `y`, `x` the others."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import arguments, launch, numbers, tile
from optlayers.kernels.gpu.norms import direction, long_norms, long_products, norm_of
from optlayers.kernels.gpu.rows import load, load_number, store, tile_indices


def project(v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the nearest points of the cone, `head` being which entry is the head; shapes as in `kernels.cpu`."""
    y, cut = torch.empty_like(v), tile(v)
    head = v.new_zeros(1) if head is None else head
    norm = None if cut.across == 1 else long_norms(cut, v, head)
    told = arguments(cut, {"v": v, "y": y}) | numbers(head=head)
    launch(_project, cut.programs, cut.warps, **told, norm=norm)
    return y


def pull(gradient: Tensor, v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the gradient of the point, by the Jacobian of `optlayers.cones.second_order`."""
    out, cut = torch.empty_like(gradient), tile(gradient, v)
    head = v.new_zeros(1) if head is None else head
    norm = product = None
    if cut.across > 1:
        norm = long_norms(cut, v, head)
        product = long_products(cut, v, gradient, norm, head)
    told = arguments(cut, {"v": v, "gradient": gradient, "out": out}) | numbers(head=head)
    launch(_pull, cut.programs, cut.warps, **told, norm=norm, product=product)
    return out


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, head, head_stride, head_rows, norm, rows, units, ALIGN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    top = load_number(head, head_stride, row, head_rows, tl.int32)
    is_head = column[None, :] == top[:, None]
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    t = tl.load(v + tl.minimum(row, rows - 1) * v_stride * ALIGN + top.to(tl.int64) * v_step).to(ACC)
    length = norm_of(tl.where(is_head, 0.0, x), ACC) if norm is None else load_number(norm, 1, row, rows, ACC)
    middle = t / 2 + length / 2
    factor = middle / tl.where(length == 0, 1.0, length)
    boundary = tl.where(is_head, middle[:, None], x * factor[:, None])
    answer = tl.where((length <= t)[:, None], x, tl.where((length <= -t)[:, None], 0.0, boundary))
    store(y, y_stride, y_step, row, column, rows, n, answer, ALIGN)


@triton.jit
def _pull(
    v, v_stride, v_step, gradient, gradient_stride, gradient_step, out, out_stride, out_step, head, head_stride,
    head_rows, norm, product, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    top = load_number(head, head_stride, row, head_rows, tl.int32)
    is_head = column[None, :] == top[:, None]
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    first = tl.minimum(row, rows - 1)
    t = tl.load(v + first * v_stride * ALIGN + top.to(tl.int64) * v_step).to(ACC)
    steepest = tl.load(gradient + first * gradient_stride * ALIGN + top.to(tl.int64) * gradient_step).to(ACC)
    x = tl.where(is_head, 0.0, x)
    length = norm_of(x, ACC) if norm is None else load_number(norm, 1, row, rows, ACC)
    u = direction(x, length)
    along = tl.sum(u * g, 1) if product is None else load_number(product, 1, row, rows, ACC)
    ratio = t / tl.where(length == 0, 1.0, length)
    ratio = tl.where(ratio > 1, 1.0, tl.where(ratio < -1, -1.0, ratio))
    tail = u * (steepest - ratio * along)[:, None] + (1 + ratio)[:, None] * g
    boundary = tl.where(is_head, (steepest + along)[:, None], tail) / 2
    answer = tl.where((length <= t)[:, None], g, tl.where((length <= -t)[:, None], 0.0, boundary))
    store(out, out_stride, out_step, row, column, rows, n, answer, ALIGN)
