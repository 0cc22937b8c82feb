"""Elimination of absolute values from the tails of second-order cones, which do not mind signs.

With ``||(w, b t)|| <= head`` and nothing else but ``t >= |e|``, the best `t` is ``|e|``, so that ``||(w, b e)|| <=
head``; with nothing else but ``t >= c``, for a number ``c >= 0``, it is `c`.
"""

import dataclasses

import numpy as np

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.conic_form import ConicForm


def lower_tails(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Put the least absolute value of each auxiliary variable that allows it into its cone; None where none does."""
    form = auxiliaries.form
    if not form.cones:
        return None
    start = int(auxiliaries.starts[1])
    keep = np.ones(len(form.inequalities), dtype=bool)
    cones = list(form.cones)
    for use in auxiliaries.uses.values():
        in_tail = _tail_position(auxiliaries, use)
        if in_tail is None:
            continue
        bounds = np.array(sorted(auxiliaries.in_part(use, 1)), dtype=np.int64)
        if len(use) != len(bounds) + 1 or not 1 <= len(bounds) <= 2:
            continue
        slopes = np.array([use[int(row)] for row in bounds])
        if (slopes <= 0).any() or any(len(auxiliaries.members[int(row)]) > 1 for row in bounds):
            continue
        k, position, coefficient = in_tail
        value = _least(form.inequalities[bounds - start], slopes, form.cones[k].rows[np.array([position])], coefficient)
        if value is not None:
            keep[bounds - start] = False
            rows = cones[k].rows
            parts = [rows[:position], value, rows[position + 1 :]]
            cones[k] = dataclasses.replace(cones[k], rows=AffineRows.concatenate([p for p in parts if len(p)]))
    if keep.all():
        return None
    return dataclasses.replace(form, inequalities=form.inequalities[keep], cones=tuple(cones))


def _tail_position(auxiliaries: Auxiliaries, use: dict[int, float]) -> tuple[int, int, float] | None:
    """Return the cone, the row and the coefficient of a variable that stands alone in one row of one tail."""
    rows = [row for row in use if auxiliaries.part(row) >= 2]
    if len(rows) != 1:
        return None
    (row,) = rows
    k = auxiliaries.part(row) - 2
    position = row - int(auxiliaries.starts[k + 2])
    indptr = auxiliaries.rows.data.indptr
    alone = indptr[row + 1] - indptr[row] == 1
    is_tail = auxiliaries.form.cones[k].kind == "soc" and position > 0
    return (k, position, use[row]) if alone and is_tail else None


def _least(bounds: AffineRows, slopes: np.ndarray, tail: AffineRows, coefficient: float) -> AffineRows | None:
    """Return the row of the tail at the least absolute value that ``slopes * (t - e) >= 0`` allow, if it is a row."""
    first = AffineRows.concatenate([tail, bounds[:1]]).combined(np.array([[1.0, -coefficient / slopes[0]]]))
    if len(bounds) == 1:
        is_number = first.is_fixed[0] and first.offset.constant[0] / coefficient >= 0
        return first if is_number else None
    total = AffineRows.concatenate([tail, bounds]).combined(np.array([[-2 / coefficient, *(1 / slopes)]]))
    return first if total.data.nnz == 0 else None
