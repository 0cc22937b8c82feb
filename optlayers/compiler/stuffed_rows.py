"""CVXPY's stuffed rows, sorted into the conic form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ParamConeProg

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import Cone, ConicForm
from optlayers.cones.triangle import triangle


@dataclass(frozen=True)
class Stuffed:
    """CVXPY's program, None where there is no constraint, and its rows with entries of leaves in C order."""

    program: ParamConeProg | None
    rows: AffineRows


def sort_rows(
    stuffed: Stuffed, size: int, labels: Sequence[str], origins: Sequence[int]
) -> tuple[ConicForm, dict[int, np.ndarray]]:
    """Sort the stuffed rows into equalities, inequalities and one entry per cone; say where each constraint's are."""
    rows, program = stuffed.rows, stuffed.program
    zero, nonneg, cones, groups, start = [], [], [], [], 0
    for con in program.constraints if program is not None else []:
        block = np.arange(start, start + con.size)
        start += con.size
        if isinstance(con, Zero):
            zero.append((con.id, block))
        elif isinstance(con, NonNeg):
            nonneg.append((con.id, block))
        elif isinstance(con, SOC):
            count = con.args[0].size
            members = np.concatenate([block[:count, None], block[count:].reshape(count, -1)], axis=1)
            cones.extend(Cone("soc", rows[member]) for member in members)
            groups.append((con.id, members, np.argsort(members, axis=None, kind="stable")))
        elif isinstance(con, PSD):
            entries = block.reshape(con.args[0].shape, order="F").reshape(-1, *con.args[0].shape[-2:])
            cones.extend(Cone("psd", _svec(rows, square)) for square in entries)
            n = entries.shape[-1]
            groups.append((con.id, np.zeros((len(entries), n * (n + 1) // 2)), None))
        elif isinstance(con, (ExpCone, PowCone3D)):
            members = block.reshape(3, -1).T
            kind = "exp" if isinstance(con, ExpCone) else "pow"
            alphas = np.broadcast_to(
                np.asarray(con.alpha.value if isinstance(con, PowCone3D) else 0.0), (len(members),)
            )
            cones.extend(Cone(kind, rows[m], float(a)) for m, a in zip(members, alphas, strict=True))
            groups.append((con.id, members, np.argsort(members, axis=None, kind="stable")))
    empty = np.zeros(0, dtype=np.int64)
    linear = [np.concatenate([empty, *(block for _, block in part)]) for part in (zero, nonneg)]
    places, start = {}, 0
    for ident, block in [*zero, *nonneg]:
        places[ident] = np.arange(start, start + len(block))
        start += len(block)
    for ident, members, order in groups:
        place = np.arange(start, start + members.size)
        places[ident] = place if order is None else place[order]
        start += members.size
    form = ConicForm(size, rows[linear[0]], rows[linear[1]], tuple(cones), tuple(labels), tuple(origins))
    return form, places


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
