"""Blocks with auxiliary entries, read as a bound on a sum of functions: ``sum_j weights_j f_j(y) <= level``.

CVXPY gives each atom an auxiliary entry ``t_j >= f_j(y)``, and these share one row, the budget. Here the budget
and the linear rows below it are found; cones are left to the sets that know them.
"""

from dataclasses import dataclass

import numpy as np

from optlayers.parametric.sparse import SparseAffine, entries_of, stack_rows
from optlayers.parametric.symbolic import Affine, Data, gather
from optlayers.recognition.block import Block, Row


@dataclass(frozen=True, eq=False)
class Budget:
    """The one row with all auxiliary entries, ``slopes @ y + weights @ t <= level``, which lets each of them grow.

    Weights are positive where they are numbers; `others` are the other rows.
    """

    slopes: Affine
    weights: Affine
    level: Data
    others: tuple[Row, ...]


def read_budget(block: Block) -> Budget | None:
    """Return the budget of a block without bounds from above; None where there is none, or several."""
    n = block.size
    if block.auxiliary < 1 or block.upper is not None or len(block.rows) > 4 * block.auxiliary + 1:
        return None
    used = entries_of(block.normals)
    full = np.flatnonzero(np.bincount(used.row[used.column >= n], minlength=len(block.rows)) == block.auxiliary)
    if block.auxiliary == 1:  # all rows have it: the budget is the one without entries of ``y``
        full = full[np.bincount(used.row[used.column < n], minlength=len(block.rows))[full] == 0]
    if len(full) != 1:
        return None
    row, others = block.rows[full[0]], block.rows[: full[0]] + block.rows[full[0] + 1 :]
    sign = 1.0 if row.upper is not None else -1.0
    if row.lower is not None and row.upper is not None:
        if not (row.is_equality and row.normal.is_constant):
            return None
        sign = float(np.sign(row.normal[n:].constant[0]))  # an equality is an inequality, as the entries may grow
    level = row.bound(-sign)
    if level is None:
        return None
    normal = row.normal.scaled(sign)
    weights = normal[n:]
    if (weights.constant[~weights.is_parametric] <= 0).any():
        return None
    return Budget(normal[:n], weights, level.scaled(sign), others)


@dataclass(frozen=True, eq=False)
class Cuts:
    """Rows that bound auxiliary entries from below by one entry of ``y`` each: ``t >= slope * y_entry + offset``."""

    auxiliary: np.ndarray
    entry: np.ndarray
    slope: Affine
    offset: Affine


def read_cuts(block: Block, rows: tuple[Row, ...], auxiliary: int = 1) -> Cuts | None:
    """Read rows with one entry of ``y`` and some auxiliary entries, of equal coefficients; None where one is not such.

    `auxiliary` is the number of auxiliary entries of each row; the result has their places, ``(rows, auxiliary)``.
    """
    n, parameters = block.size, block.parameters
    normals = stack_rows([row.normal for row in rows], n + block.auxiliary, parameters)
    used = entries_of(normals)
    if (used.per_row(len(rows)) != 1 + auxiliary).any():
        return None
    columns, constant, is_parametric = (part.reshape(len(rows), 1 + auxiliary) for part in used[1:])
    if (columns[:, 0] >= n).any() or (columns[:, 1] < n).any():
        return None
    lead = constant[:, 1]
    if is_parametric[:, 1:].any() or np.ptp(constant[:, 1:], axis=1).any():
        return None
    levels, caps = ([row.bound(side * a) for row, a in zip(rows, lead.tolist(), strict=True)] for side in (1, -1))
    offset = gather(levels, np.nan, parameters)
    if None in levels or any(cap is not None for cap in caps) or not isinstance(offset, Affine):
        return None
    row, column = np.divmod(normals.index, normals.shape[1])
    is_entry = column < n
    slope = SparseAffine(
        (len(rows),),
        parameters,
        row[is_entry],
        normals.parameter[is_entry],
        normals.value[is_entry] / -lead[row[is_entry]],
    )
    return Cuts(columns[:, 1:] - n, columns[:, 0], slope.dense(), offset.scaled(1 / lead))
