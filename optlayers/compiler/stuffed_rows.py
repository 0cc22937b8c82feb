"""CVXPY's stuffed rows, sorted into the conic form."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import Cone, ConicForm
from optlayers.cones.triangle import triangle


def sort_rows(
    constraints: Sequence[Any], rows: AffineRows, size: int, labels: Sequence[str], origins: Sequence[int]
) -> tuple[ConicForm, dict[int, np.ndarray]]:
    """Sort rows, with entries of leaves in C order, into equalities, inequalities and one entry per cone.

    Say where each constraint's are, too.
    """
    cones: list[Cone] = []
    groups: list[tuple[int, int, np.ndarray]] = []  # 0 for equalities, 1 for inequalities, 2 for cones; whose; rows
    start = 0
    for con in constraints:
        block = np.arange(start, start + con.size)
        start += con.size
        if isinstance(con, (Zero, NonNeg)):
            groups.append((int(isinstance(con, NonNeg)), con.id, block))
        elif isinstance(con, SOC):
            count = con.args[0].size
            members = np.concatenate([block[:count, None], block[count:].reshape(count, -1)], axis=1)
            cones.extend(Cone("soc", rows[member]) for member in members)
            groups.append((2, con.id, members))
        elif isinstance(con, PSD):
            entries = block.reshape(con.args[0].shape, order="F").reshape(-1, *con.args[0].shape[-2:])
            cones.extend(Cone("psd", _svec(rows, square)) for square in entries)
            n = entries.shape[-1]
            groups.append((2, con.id, np.zeros((len(entries), n * (n + 1) // 2))))  # in order
        elif isinstance(con, (ExpCone, PowCone3D)):
            members = block.reshape(3, -1).T
            kind, alpha = ("exp", 0.0) if isinstance(con, ExpCone) else ("pow", con.alpha.value)
            alphas = np.broadcast_to(np.asarray(alpha), (len(members),))
            cones.extend(Cone(kind, rows[m], float(a)) for m, a in zip(members, alphas, strict=True))
            groups.append((2, con.id, members))
    groups.sort(key=lambda group: group[0])
    rows_by_id, start = {}, 0
    for _, ident, members in groups:
        rows_by_id[ident] = start + np.argsort(members, axis=None, kind="stable")
        start += members.size
    empty = np.zeros(0, dtype=np.int64)
    zero, nonneg = (rows[np.concatenate([empty, *(m for part, _, m in groups if part == k)])] for k in (0, 1))
    return ConicForm(size, zero, nonneg, tuple(cones), tuple(labels), tuple(origins)), rows_by_id


def _svec(rows: AffineRows, square: np.ndarray) -> AffineRows:
    """Return the scaled lower triangle, by columns, of the symmetric part of a matrix of rows."""
    n = len(square)
    row, column = triangle(n)
    pairs = sp.coo_array(
        (
            np.tile(np.where(row == column, 0.5, np.sqrt(0.5)), 2),
            (np.tile(np.arange(len(row)), 2), np.concatenate([square[row, column], square[column, row]])),
        ),
        shape=(len(row), len(rows)),
    )
    return rows.combined(pairs)
