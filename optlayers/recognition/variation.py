"""Total variation: rows that say that the absolute steps along a path have a bounded sum."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.sparse import entries_of, sparse_matrix
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
    sides = [block.rows[k].range.sides for k in chosen]
    if not all(len(side) == 1 and side[0][1].is_zero for side in sides):
        return None
    signs = sp.diags_array([side[0][0] for side in sides])
    matrix = sp.csr_array(signs @ sparse_matrix(block.normals[chosen]))  # rows that are nonnegative
    slopes, heights = matrix[:, :n], matrix[:, n:]
    order = np.argsort(heights.indices)
    paired = np.array_equal(heights.indices[order], np.repeat(np.arange(steps), 2))
    if not paired or (np.diff(heights.indptr) != 1).any() or (heights.data <= 0).any():
        return None
    slopes = sp.csr_array(sp.diags_array(1 / heights.data) @ slopes)[order]
    one, other = slopes[::2], slopes[1::2]
    if (np.diff(one.indptr) != 2).any() or one.sum(axis=1).any() or (one + other).count_nonzero():
        return None
    return one.indices.reshape(-1, 2), np.abs(one.data[::2])
