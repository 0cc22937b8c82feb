"""Total variation: rows that say that the absolute steps along a path have a bounded sum."""

from dataclasses import dataclass

import numpy as np

from optlayers.parametric.sparse import entries_of
from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block
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
    if not shape or block.cones or block.has_bounds or not block.normals.is_constant:
        return None
    used = entries_of(block.normals)
    sums = np.flatnonzero(np.bincount(used.row[used.column >= n], minlength=len(block.rows)) > 1)
    if len(sums) != 1:
        return None
    total, in_total = block.rows[sums[0]], used.row == sums[0]
    steps_read = _read_steps(block, np.delete(np.arange(len(block.rows)), sums[0]))
    every = np.array_equal(used.column[in_total], n + np.arange(steps))
    if steps_read is None or total.lower is not None or total.upper is None or not every:
        return None
    ends, scale = steps_read
    weight, radius = used.constant[in_total] * scale, total.upper
    order = path(ends, n)[0]
    if weight[0] <= 0 or np.ptp(weight) > 1e-12 * weight[0] or order is None:
        return None
    return Variation(order, radius.scaled(1 / weight[0]))


def _read_steps(block: Block, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Read pairs of rows ``t >= +-size * (y[j] - y[i])``: for each `t` the pair ``(i, j)``, and the size."""
    n, steps = block.size, block.auxiliary
    used = entries_of(block.normals[chosen])
    rows = [block.rows[k] for k in chosen]
    bounds = [row.upper if row.lower is None else row.lower for row in rows]
    one_sided = all(row.lower is None or row.upper is None for row in rows)
    if (used.per_row(len(rows)) != 3).any() or not one_sided or not all(b is not None and b.is_zero for b in bounds):
        return None
    entry, normal = used.column.reshape(-1, 3), used.constant.reshape(-1, 3)
    normal = normal * np.array([[1.0 if row.lower is None else -1.0] for row in rows])
    slope, height, member = normal[:, :2], -normal[:, 2], entry[:, 2] - n
    order = np.lexsort((slope[:, 1] > 0, member))  # from below, from above
    both = np.stack([member, slope[:, 1] > 0], axis=1)[order]
    if (entry[:, 1] >= n).any() or (height <= 0).any() or slope.sum(axis=1).any():
        return None
    if not np.array_equal(both, np.stack([np.repeat(np.arange(steps), 2), np.tile([0, 1], steps)], axis=1)):
        return None
    pairs, size = entry[order, :2].reshape(-1, 4), (np.abs(slope[:, 0]) / height)[order].reshape(-1, 2)
    alike = np.array_equal(pairs[:, :2], pairs[:, 2:]) and np.array_equal(size[:, 0], size[:, 1])
    return (pairs[:, :2], size[:, 0]) if alike else None
