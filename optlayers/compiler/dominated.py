"""Dropping epigraph rows that another one implies: ``t >= x, t >= -x`` with ``x >= 0`` needs the first only."""

import dataclasses
import itertools

import numpy as np

from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.bounds import collect_sides, sort_rows
from optlayers.compiler.conic_form import ConicForm

_MOST_ROWS = 6  # rows of one variable that are compared, pair by pair


def drop_dominated(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Drop inequalities on one auxiliary variable that another one and numeric bounds imply; None where none is."""
    form = auxiliaries.form
    if not form.size:
        return None
    sides = collect_sides(sort_rows(form.inequalities)[0])
    low, high = (np.append(side.numbers, 1.0) for side in sides)  # the last entry is the constant 1
    start = int(auxiliaries.starts[1])
    dropped: set[int] = set()
    for variable, use in auxiliaries.uses.items():
        rows = auxiliaries.in_part(use, 1)
        for sign in (1.0, -1.0):
            alone = [row for row, value in rows.items() if sign * value > 0 and auxiliaries.members[row] == [variable]]
            if not 1 < len(alone) <= _MOST_ROWS:
                continue
            functions = {row: f for row in alone if (f := _function(auxiliaries, row, variable)) is not None}
            for one, other in itertools.permutations(functions, 2):
                if one not in dropped and _smallest(functions[other], functions[one], low, high) >= 0:
                    dropped.add(other)
    if not dropped:
        return None
    keep = np.setdiff1d(np.arange(len(form.inequalities)), np.array(sorted(dropped)) - start)
    return dataclasses.replace(form, inequalities=form.inequalities[keep])


def _function(auxiliaries: Auxiliaries, row: int, variable: int) -> dict[int, float] | None:
    """Return ``f`` of the row ``+-t + f(y) >= 0`` as coefficients (the offset under n); None if it has parameters."""
    terms, scale = auxiliaries.terms(row), abs(auxiliaries.uses[variable][row])
    return None if terms is None else {c: v / scale for c, v in terms.items() if c != variable}


def _smallest(one: dict[int, float], other: dict[int, float], low: np.ndarray, high: np.ndarray) -> float:
    """Return a lower bound of the difference of two functions on the box."""
    total = 0.0
    for column in one.keys() | other.keys():
        coefficient = one.get(column, 0.0) - other.get(column, 0.0)
        if coefficient:
            total += coefficient * (low[column] if coefficient > 0 else high[column])
    return total
