"""Rows in blocks: sums over a block are taken in the row's precision, sums of blocks in double precision."""

from __future__ import annotations

import numpy as np

from optlayers.kernels.cpu.compiled import inner, kernel

LARGEST = 1024  # entries of a block; few enough that a sum in single precision is right to a few units


@inner
def width_of(n: int) -> int:
    """Return the length of blocks of about equal size, a multiple of 64 but for short rows."""
    blocks = (n + LARGEST - 1) // LARGEST
    return n if blocks <= 1 else min((n // blocks + 63) // 64 * 64, LARGEST)


@inner
def part(row: np.ndarray, start: int, stop: int, n: int) -> np.ndarray:
    """Return a block of a row of `n` entries; of a shorter one, which is uniform, as many entries."""
    first = start if row.size == n else 0
    return row[first : first + stop - start]


@inner
def span(start: int, stop: int) -> range:
    """Return a range of places, which are known not to be negative, so that loops over arrays are vectorised."""
    return range(np.uint64(start), np.uint64(stop))


@inner
def shift_of(rows: np.ndarray, start: int, n: int) -> np.uint64:
    """Return by how much places from `start` on are moved in rows of data: as `part` does, without a view."""
    return np.uint64(0 if rows.shape[1] == n else start)


@inner
def are_same(x: np.ndarray, y: np.ndarray) -> bool:
    """Return whether two arrays share their memory: loops from one to the other are then not vectorised."""
    return x.ctypes.data == y.ctypes.data


@inner
def moments(w: np.ndarray, i: int, start: int, stop: int) -> tuple[float, float]:
    """Return the sum of entries, and the sum of their squares."""
    total, square = w.dtype.type(0), w.dtype.type(0)
    for j in span(start, stop):
        total += w[i, j]
        square += w[i, j] * w[i, j]
    return total, square


@inner
def total(rows: np.ndarray, k: int, n: int, width: int) -> float:
    """Return the sum of a row of `n` numbers, given in full or as a block."""
    result = 0.0
    for start in range(0, n, width):
        first = start if rows.shape[1] == n else 0
        result += moments(rows, k, first, first + min(n - start, width))[0]
    return result


@kernel
def is_uniform(bits: np.ndarray) -> bool:
    """Return whether all entries are the same."""
    for start in range(0, bits.size, LARGEST):
        different = bits.dtype.type(0)
        for i in span(start, min(bits.size, start + LARGEST)):
            different |= bits[i] ^ bits[0]
        if different != 0:
            return False
    return True
