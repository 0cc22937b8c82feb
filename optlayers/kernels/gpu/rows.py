"""What kernels do with rows: find them, load, store, clamp."""

import triton
import triton.language as tl


@triton.jit
def tile_indices(rows, n, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return this program's rows, ``(HEIGHT,)`` in 64 bits, columns, ``(WIDTH,)``, and its number along the row."""
    across = tl.cdiv(n, WIDTH)
    program = tl.program_id(0)
    row = (program // across).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    return row, (program % across) * WIDTH + tl.arange(0, WIDTH), program % across


@triton.jit
def load(pointer, stride, step, row, column, rows, n, other, ALIGN: tl.constexpr, ACC: tl.constexpr):
    """Return entries ``(HEIGHT, WIDTH)``, `other` beyond the last column; without a step ``(HEIGHT, 1)``.

    Rows beyond the last one get its entries. No tensor gives None.
    """
    entries = None
    if pointer is not None:
        start = pointer + tl.minimum(row, rows - 1)[:, None] * stride * ALIGN
        if step is None:
            entries = tl.load(start).to(ACC)
        else:
            address = start + column[None, :].to(tl.int64) * step
            entries = tl.load(address, mask=column[None, :] < n, other=other).to(ACC)
    return entries


@triton.jit
def load_data(pointer, stride, step, row, column, rows, n, other, ALIGN: tl.constexpr, ACC: tl.constexpr):
    """Return what `load` does, of data whose rows take turns."""
    return load(pointer, stride, step, (row.to(tl.int32) % rows).to(tl.int64), column, rows, n, other, ALIGN, ACC)


@triton.jit
def store(pointer, stride, step, row, column, rows, n, value, ALIGN: tl.constexpr):
    """Write entries ``(HEIGHT, WIDTH)``."""
    address = pointer + row[:, None] * stride * ALIGN + column[None, :].to(tl.int64) * step
    tl.store(address, value.to(pointer.dtype.element_ty), mask=(row[:, None] < rows) & (column[None, :] < n))


@triton.jit
def load_number(pointer, stride, row, rows, ACC: tl.constexpr):
    """Return one number a row, ``(HEIGHT,)``; `rows` numbers take turns."""
    return tl.load(pointer + (row.to(tl.int32) % rows).to(tl.int64) * stride).to(ACC)


@triton.jit
def clamp(x, lower, upper):
    """Return ``min(max(x, lower), upper)``, where either bound may be None; NaN stays."""
    if lower is not None:
        x = tl.where(x < lower, lower, x)
    if upper is not None:
        x = tl.where(x > upper, upper, x)
    return x


@triton.jit
def rounded(bound, pointer):
    """Return a bound as entries that lie on it were stored; there may be none."""
    result = bound
    if bound is not None:
        result = bound.to(pointer.dtype.element_ty).to(bound.dtype)
    return result


@triton.jit
def strictly_inside(y, lower, upper, inside):
    """Return whether entries lie strictly between their bounds, where either may be None, in columns that exist."""
    free = inside & (y == y)
    if lower is not None:
        free = free & (y > lower)
    if upper is not None:
        free = free & (y < upper)
    return free
