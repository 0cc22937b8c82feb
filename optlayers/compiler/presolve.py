"""Reductions that keep the set on the user's variables exactly as it is.

CVXPY's canonicalisation writes ``norm(x) <= r`` as ``norm(x) <= t, t <= r`` with an auxiliary ``t``. Here auxiliary
variables are eliminated again where that is exact and makes no row longer than it needs to be, cones that are linear
rows in disguise become rows, and rows that say nothing are dropped.
"""

import dataclasses

import numpy as np

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.cone_rules import simplify
from optlayers.compiler.conic_form import Cone, ConicForm
from optlayers.compiler.dominated import drop_dominated
from optlayers.compiler.elimination import eliminate
from optlayers.compiler.epigraphs import compose
from optlayers.compiler.tails import lower_tails


def presolve(form: ConicForm) -> ConicForm:
    """Return an equivalent form with fewer auxiliary variables and simpler cones.

    ValueError is raised if a constraint contains NaN, or infinity anywhere but in a vacuous bound.
    """
    form = _without_infinity(form)
    while True:
        form = _simplify_cones(form)
        simpler = _with_fewer_auxiliaries(form) if form.auxiliary else None
        if simpler is None:
            return _compact(_without_empty_rows(form))
        form = _without_empty_rows(simpler)


def _with_fewer_auxiliaries(form: ConicForm) -> ConicForm | None:
    """Apply the first rule about auxiliary variables that applies; return None where none does."""
    auxiliaries = Auxiliaries(form)
    rules = (eliminate, compose, lower_tails, drop_dominated)
    return next(filter(None, (rule(auxiliaries) for rule in rules)), None)


def _without_infinity(form: ConicForm) -> ConicForm:
    """Drop rows such as ``x <= inf``; an impossible ``x >= inf`` becomes the row ``-1 >= 0``."""

    def infinite(rows: AffineRows) -> np.ndarray:
        row, column, parameter, value = rows.triplets()
        result = np.zeros(len(rows))
        at_offset = (column == rows.n) & (parameter == rows.parameters) & np.isinf(value)
        result[row[at_offset]] = np.sign(value[at_offset])
        bad = ~np.isfinite(value) & ~at_offset
        if bad.any():
            label = form.labels[rows.sources_of(int(row[bad][0]))[0]]
            raise ValueError(f"{label} has NaN or infinite coefficients; only its bounds may be infinite.")
        return result

    def refuse(rows: AffineRows) -> None:
        bad = infinite(rows) != 0
        if bad.any():
            label = form.labels[rows.sources_of(int(bad.argmax()))[0]]
            raise ValueError(f"{label} has infinite data, which only an inequality may have.")

    refuse(form.equalities)
    sign = infinite(form.inequalities)
    rows = form.inequalities[sign == 0]
    impossible = [form.inequalities[k : k + 1].numbers(-1.0) for k in np.flatnonzero(sign < 0)]
    cones = []
    for cone in form.cones:
        if cone.kind != "soc" or infinite(cone.rows)[0] <= 0:
            refuse(cone.rows)
            cones.append(cone)
        else:
            refuse(cone.rows[1:])
    return dataclasses.replace(form, inequalities=AffineRows.concatenate([rows, *impossible]), cones=tuple(cones))


def _simplify_cones(form: ConicForm) -> ConicForm:
    cones: list[Cone] = []
    rows: list[AffineRows] = []
    queue = list(reversed(form.cones))
    while queue:
        cone = queue.pop()
        simpler = simplify(cone)
        if simpler is None:
            cones.append(cone)
        else:
            queue.extend(reversed(simpler[0]))
            rows.extend(simpler[1])
    inequalities = AffineRows.concatenate([form.inequalities, *rows]) if rows else form.inequalities
    return dataclasses.replace(form, inequalities=inequalities, cones=tuple(cones))


def _without_empty_rows(form: ConicForm) -> ConicForm:
    """Drop ``0 == 0`` and ``c >= 0`` with a number ``c >= 0``."""
    equalities = form.equalities[np.diff(form.equalities.data.indptr) > 0]
    fixed = form.inequalities.is_fixed & (form.inequalities.offset.constant >= 0)
    return dataclasses.replace(form, equalities=equalities, inequalities=form.inequalities[~fixed])


def _compact(form: ConicForm) -> ConicForm:
    """Renumber the auxiliary variables that are left."""
    used = np.zeros(form.equalities.n + 1, dtype=bool)
    used[: form.size] = used[-1] = True
    used[form.rows.triplets()[1]] = True
    return form.map(lambda rows: rows.moved(np.cumsum(used) - 1))
