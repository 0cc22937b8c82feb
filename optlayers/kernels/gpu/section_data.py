"""Sections of boxes: what their kernels compute of rows."""

import triton
import triton.language as tl

from optlayers.kernels.gpu.rows import load_number


@triton.jit
def bounded_total(product, low, low_stride, low_rows, high, high_stride, high_rows, row, rows, ACC: tl.constexpr):
    """Return the total to reach, and whether it is active, given that of the projection onto the box, ``(HEIGHT,)``.

    A total exactly at its bound is active; NaN is.
    """
    total, loose = product, product == product
    if low is not None:
        bound = load_number(low, low_stride, row, low_rows, ACC)
        total, loose = tl.where(total < bound, bound, total), loose & (product > bound)
    if high is not None:
        bound = load_number(high, high_stride, row, high_rows, ACC)
        total, loose = tl.where(total > bound, bound, total), loose & (product < bound)
    return total, loose == 0


@triton.jit
def weighted(y, normal, inside):
    """Return ``normal * y`` in the columns that exist, zero elsewhere; a normal of None is ones."""
    return tl.where(inside, y if normal is None else y * normal, 0.0)


@triton.jit
def shifted(x, normal, tau):
    """Return ``x - tau * normal``; a normal of None is ones."""
    return x - (tau if normal is None else tau * normal)


@triton.jit
def slope_of(free, normal, ACC: tl.constexpr):
    """Return the sum of the squared normal over the free entries."""
    return tl.sum(free.to(ACC) if normal is None else tl.where(free, normal * normal, 0.0), 1)
