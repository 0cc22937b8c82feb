"""Exact elimination of auxiliary variables, as far as it makes no row longer.

- A variable in an equality is substituted.
- A variable that only one row bounds above, and that every other row and cone allows to grow, is set to that bound
  (Fourier-Motzkin with a single upper row; a cone allows growth where the coefficients of the variable lie in it).
- A variable that nothing bounds above makes its rows vacuous, and its cones too where it moves into their interior.

The last two hold with the signs changed as well. A row is solved for a variable only when the variable is its only
auxiliary one, so that all of a round's eliminations are one matrix product.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.cone_rules import in_cone
from optlayers.compiler.conic_form import ConicForm

_Use = dict[int, float]


def eliminate(form: ConicForm) -> ConicForm | None:
    """Eliminate all auxiliary variables that can be at once; return None where there is none."""
    if form.auxiliary == 0:
        return None
    auxiliaries = Auxiliaries(form)
    pivots: dict[int, int] = {}
    vacuous: set[int] = set()
    for variable, use in auxiliaries.uses.items():
        pivot = _pivot(auxiliaries, use)
        if pivot is not None:
            pivots[variable] = pivot
        else:
            vacuous |= _vacuous(auxiliaries, use)
    pivots = {variable: pivot for variable, pivot in pivots.items() if pivot not in vacuous}
    return _solve(auxiliaries, pivots, vacuous) if pivots or vacuous else None


def _pivot(auxiliaries: Auxiliaries, use: _Use) -> int | None:
    """Return the row to solve for the variable."""
    equalities, inequalities = auxiliaries.in_part(use, 0), auxiliaries.in_part(use, 1)
    if equalities:
        return next((row for row in equalities if len(auxiliaries.members[row]) == 1), None)
    for sign in (1.0, -1.0):
        bounds = [row for row, value in inequalities.items() if sign * value < 0]
        if len(bounds) == 1 and len(auxiliaries.members[bounds[0]]) == 1 and _may_move(auxiliaries, use, sign):
            return bounds[0]
    return None


def _vacuous(auxiliaries: Auxiliaries, use: _Use) -> set[int]:
    """Return the rows that hold for some value of the variable, whatever the others are."""
    inequalities = auxiliaries.in_part(use, 1)
    for sign in (1.0, -1.0):
        grows = not auxiliaries.in_part(use, 0) and all(sign * value > 0 for value in inequalities.values())
        if grows and _may_move(auxiliaries, use, sign, strictly=True):
            starts = auxiliaries.starts
            return set(inequalities).union(*(range(starts[k + 2], starts[k + 3]) for k in auxiliaries.cones(use)))
    return set()


def _may_move(auxiliaries: Auxiliaries, use: _Use, sign: float, *, strictly: bool = False) -> bool:
    """Whether all cones allow the variable to move by `sign` without end."""
    directions = auxiliaries.cones(use)
    return all(in_cone(auxiliaries.form.cones[k], sign * d, strictly=strictly) for k, d in directions.items())


def _solve(auxiliaries: Auxiliaries, pivots: dict[int, int], vacuous: set[int]) -> ConicForm:
    """Solve each pivot row for its variable, put the solution into all other rows and drop vacuous rows."""
    size = len(auxiliaries.rows)
    entries: dict[tuple[int, int], float] = {(r, r): 1.0 for r in range(size)}
    for variable, pivot in pivots.items():
        use = auxiliaries.uses[variable]
        for row, value in use.items():
            entries[row, pivot] = entries.get((row, pivot), 0.0) - value / use[pivot]
    index = np.array(list(entries), dtype=np.int64).T
    rows = auxiliaries.rows.combined(sp.csr_array((np.array(list(entries.values())), tuple(index)), shape=(size, size)))
    keep = np.ones(size, dtype=bool)
    keep[list(vacuous)] = False
    starts = auxiliaries.starts
    equalities, inequalities, *parts = (np.arange(a, b)[keep[a:b]] for a, b in itertools.pairwise(starts))
    cones = zip(auxiliaries.form.cones, parts, strict=True)
    return dataclasses.replace(
        auxiliaries.form,
        equalities=rows[equalities],
        inequalities=rows[inequalities],
        cones=tuple(dataclasses.replace(cone, rows=rows[part]) for cone, part in cones if len(part)),
    )
