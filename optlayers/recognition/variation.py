"""Total variation: rows that say that the absolute steps along a path have a bounded sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block, Row
from optlayers.recognition.chains import path


@dataclass(frozen=True, eq=False)
class Variation:
    """The set ``sum |y[order[1:]] - y[order[:-1]]| <= radius``."""

    order: np.ndarray
    radius: Data


def read_variation(block: Block) -> Variation | None:
    """Return the bounded variation that a block is, with one auxiliary entry above each absolute step, or None."""
    n, steps = block.size, block.auxiliary
    shape = n >= 3 and steps == n - 1 and len(block.rows) == 2 * steps + 1
    if not shape or block.cones or block.has_bounds or not all(row.normal.is_constant for row in block.rows):
        return None
    sums = [row for row in block.rows if np.count_nonzero(row.normal.constant[n:]) > 1]
    if len(sums) != 1 or sums[0].lower is not None or sums[0].normal.constant[:n].any():
        return None
    scale = np.zeros((steps, 2))  # by auxiliary entry, from below and from above: how often the step it must exceed
    ends = np.full((steps, 2), -1)
    for row in block.rows:
        if row is sums[0]:
            continue
        found = _one_side(row, n)
        if found is None:
            return None
        k, pair, size, side = found
        if scale[k, side] != 0 or (ends[k, 0] >= 0 and not np.array_equal(ends[k], pair)):
            return None
        scale[k, side], ends[k] = size, pair
    weight = sums[0].normal.constant[n:] * scale[:, 0]
    alike = (scale > 0).all() and np.array_equal(scale[:, 0], scale[:, 1])
    if not alike or weight[0] <= 0 or np.ptp(weight) > 1e-12 * weight[0]:
        return None
    order = path(ends, n)[0]
    radius = sums[0].upper
    if order is None or radius is None or (weight[0] != 1 and not isinstance(radius, Affine)):
        return None
    return Variation(order, radius.scaled(1 / weight[0]) if isinstance(radius, Affine) else radius)


def _one_side(row: Row, n: int) -> tuple[int, np.ndarray, float, int] | None:
    """Read ``t >= size * (y[j] - y[i])``: which `t`, the pair, the size, and whether ``i < j``."""
    normal = row.normal.constant
    pair, above = np.flatnonzero(normal[:n]), np.flatnonzero(normal[n:])
    bound, sign = (row.upper, 1.0) if row.lower is None else (row.lower, -1.0)
    zero = isinstance(bound, Affine) and bound.is_zero
    if len(pair) != 2 or len(above) != 1 or not zero or (row.lower is not None and row.upper is not None):
        return None
    slope, height = sign * normal[pair], -sign * normal[n + above[0]]
    if height <= 0 or slope.sum() != 0:
        return None
    return int(above[0]), pair, abs(slope[0]) / height, int(slope[1] > 0)
