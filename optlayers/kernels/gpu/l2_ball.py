"""L2 balls around zero: ``{y : ||y|| <= radius}``."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from optlayers.kernels.gpu.launch import accumulator, arguments, launch, numbers, tile
from optlayers.kernels.gpu.norms import direction, long_norms, long_products, norm_of
from optlayers.kernels.gpu.rows import load, load_number, store, tile_indices


def project(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the ball, and the norms of `v` in float32 or float64; shapes as in `kernels.cpu`."""
    y, cut = torch.empty_like(v), tile(v)
    norm = torch.empty(len(v), dtype=accumulator(v), device=v.device) if cut.across == 1 else long_norms(cut, v)
    told = arguments(cut, {"v": v, "y": y}) | numbers(radius=radius)
    launch(_project, cut.programs, cut.warps, **told, norm=norm, GIVEN=cut.across > 1)
    return y, norm


def pull(gradient: Tensor, v: Tensor, norm: Tensor, radius: Tensor) -> Tensor:
    """Return the gradient of the point; on the sphere, that of a point outside.

    Outside it is ``radius / norm * (gradient - u u @ gradient)`` with ``u = v / norm``.
    """
    out, cut = torch.empty_like(gradient), tile(gradient, v)
    product = None if cut.across == 1 else long_products(cut, v, gradient, norm)
    told = arguments(cut, {"v": v, "gradient": gradient, "out": out}) | numbers(radius=radius)
    launch(_pull, cut.programs, cut.warps, **told, norm=norm, product=product)
    return out


@triton.jit
def _project(
    v, v_stride, v_step, y, y_stride, y_step, radius, radius_stride, radius_rows, norm, rows, units,
    ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, GIVEN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    if GIVEN:
        length = load_number(norm, 1, row, rows, ACC)
    else:
        length = norm_of(x, ACC)
        tl.store(norm + row, length, mask=row < rows)
    bound = tl.maximum(load_number(radius, radius_stride, row, radius_rows, ACC), 0.0)
    factor = tl.where(length < bound, 1.0, bound / tl.where(length == 0, 1.0, length))
    store(y, y_stride, y_step, row, column, rows, n, x * factor[:, None], ALIGN)


@triton.jit
def _pull(
    v, v_stride, v_step, gradient, gradient_stride, gradient_step, out, out_stride, out_step, radius, radius_stride,
    radius_rows, norm, product, rows, units, ALIGN: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    n = units * ALIGN
    row, column, _ = tile_indices(rows, n, HEIGHT, WIDTH)
    x = load(v, v_stride, v_step, row, column, rows, n, 0.0, ALIGN, ACC)
    g = load(gradient, gradient_stride, gradient_step, row, column, rows, n, 0.0, ALIGN, ACC)
    length = load_number(norm, 1, row, rows, ACC)
    u = direction(x, length)
    along = tl.sum(u * g, 1) if product is None else load_number(product, 1, row, rows, ACC)
    bound = tl.maximum(load_number(radius, radius_stride, row, radius_rows, ACC), 0.0)
    factor = bound / tl.where(length == 0, 1.0, length)
    outside = (length >= bound)[:, None]
    answer = tl.where(outside, factor[:, None] * (g - u * along[:, None]), g)
    store(out, out_stride, out_step, row, column, rows, n, answer, ALIGN)
