"""Exact elimination of auxiliary variables, as far as it makes no row longer.

- A variable in an equality is substituted.
- A variable that only one row bounds above, and that every other row and cone allows to grow, is set to that bound
  (Fourier-Motzkin with a single upper row; a cone allows growth where the coefficients of the variable lie in it).
- A variable that nothing bounds above makes its rows vacuous, and its cones too where it moves into their interior.

The last two hold with the signs changed as well. A row is solved for a variable only when the variable is its only
auxiliary one (or when it says that two are in proportion), so that all of a round's eliminations are one matrix
product. When nothing else is left, systems of equalities that determine all their auxiliary variables are solved.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.cone_rules import in_cone
from optlayers.compiler.conic_form import ConicForm

_Use = dict[int, float]
_LARGEST_SQUARE = 300  # equations that are solved together
_WORST_CONDITION = 1e8


def eliminate(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Eliminate all auxiliary variables that can be at once; return None where there is none."""
    pivots: dict[int, int] = {}
    vacuous: set[int] = set()
    kept: set[int] = set()  # variables that a pivot row of this round contains
    for variable, use in auxiliaries.uses.items():
        pivot = None if variable in kept else _pivot(auxiliaries, use)
        others = set() if pivot is None else set(auxiliaries.members[pivot]) - {variable}
        if pivot is None:
            vacuous |= _vacuous(auxiliaries, use)
        elif not others & pivots.keys():
            pivots[variable] = pivot
            kept |= others
    pivots = {variable: pivot for variable, pivot in pivots.items() if pivot not in vacuous}
    if pivots or vacuous:
        return _solve(auxiliaries, pivots, vacuous)
    return _solve_squares(auxiliaries)


def _pivot(auxiliaries: Auxiliaries, use: _Use) -> int | None:
    """Return the row to solve for the variable."""
    equalities, inequalities = auxiliaries.in_part(use, 0), auxiliaries.in_part(use, 1)
    if equalities:
        return next((row for row in equalities if _is_simple(auxiliaries, row)), None)
    for sign in (1.0, -1.0):
        bounds = [row for row, value in inequalities.items() if sign * value < 0]
        if len(bounds) == 1 and _is_simple(auxiliaries, bounds[0]) and _may_move(auxiliaries, use, sign):
            return bounds[0]
    return None


def _is_simple(auxiliaries: Auxiliaries, row: int) -> bool:
    """Whether the row has one auxiliary variable, or says no more than that two are in proportion."""
    count = len(auxiliaries.members[row])
    indptr = auxiliaries.rows.data.indptr
    return count == 1 or (count == 2 and indptr[row + 1] - indptr[row] == 2)


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
    step = sp.csr_array((np.array(list(entries.values())), tuple(index)), shape=(size, size))
    return auxiliaries.with_rows(auxiliaries.rows.combined(step), vacuous | set(pivots.values()))


def _solve_squares(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Solve systems of equalities that determine their auxiliary variables (``x == c + M u``) for these."""
    form, size = auxiliaries.form, len(auxiliaries.rows)
    matrix = auxiliaries.rows.matrix[:, form.size :]
    equations = len(form.equalities)
    row, column = matrix[:equations].nonzero()
    shape = (equations + form.auxiliary,) * 2
    graph = sp.coo_array((np.ones(len(row)), (row, column + equations)), shape=shape)
    count, label = connected_components(graph, directed=False)
    step = sp.eye_array(size, format="csr")
    solved: set[int] = set()
    for component in range(count):
        members = np.flatnonzero(label == component)
        rows, variables = members[members < equations], members[members >= equations] - equations
        if not 0 < len(rows) == len(variables) <= _LARGEST_SQUARE:
            continue
        square = matrix[rows][:, variables].toarray()
        if not all(form.size + v in auxiliaries.uses for v in variables) or np.linalg.cond(square) > _WORST_CONDITION:
            continue
        select = sp.csr_array((np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), size))
        step = step - matrix[:, variables] @ sp.csr_array(np.linalg.inv(square)) @ select
        solved.update(rows.tolist())
    return auxiliaries.with_rows(auxiliaries.rows.combined(step), solved) if solved else None
