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
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from optlayers.affine_rows import AffineRows
from optlayers.cone_rules import in_cone
from optlayers.conic_form import ConicForm


@dataclass
class _Uses:
    """The coefficients of one auxiliary variable, by row; rows of cones are grouped by cone."""

    equalities: dict[int, float] = field(default_factory=dict)
    inequalities: dict[int, float] = field(default_factory=dict)
    cones: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def all(self) -> dict[int, float]:
        result = self.equalities | self.inequalities
        for rows in self.cones.values():
            result |= rows
        return result


class _Elimination:
    """One round of elimination; rows are numbered through equalities, inequalities and cones."""

    def __init__(self, form: ConicForm) -> None:
        self.form = form
        self.rows = AffineRows.concatenate([form.equalities, form.inequalities, *(c.rows for c in form.cones)])
        sizes = [len(form.equalities), len(form.inequalities), *(len(c.rows) for c in form.cones)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.uses, self.auxiliaries = self._collect()

    def _collect(self) -> tuple[dict[int, _Uses], np.ndarray]:
        """Return the uses of each auxiliary variable with constant coefficients, and each row's count of them."""
        row, column, parameter, value = self.rows.triplets()
        auxiliary = (column >= self.form.size) & (column < self.rows.n)
        pairs = np.unique(np.stack([row[auxiliary], column[auxiliary]]), axis=1)
        count = np.bincount(pairs[0], minlength=len(self.rows))
        parametric = set(column[auxiliary & (parameter < self.rows.parameters)].tolist())
        part = np.searchsorted(self.starts, row[auxiliary], side="right") - 1
        uses: dict[int, _Uses] = defaultdict(_Uses)
        entries = (row[auxiliary].tolist(), column[auxiliary].tolist(), value[auxiliary].tolist(), part.tolist())
        for r, c, v, k in zip(*entries, strict=True):
            if c not in parametric:
                group = (uses[c].equalities, uses[c].inequalities)[k] if k < 2 else uses[c].cones[k - 2]
                group[r] = v
        return uses, count

    def _may_move(self, use: _Uses, sign: float, *, strictly: bool = False) -> bool:
        """Whether all cones allow the variable to move by `sign` without end."""
        for k, rows in use.cones.items():
            direction = np.zeros(len(self.form.cones[k].rows))
            direction[np.array(list(rows)) - self.starts[k + 2]] = sign * np.array(list(rows.values()))
            if not in_cone(self.form.cones[k], direction, strictly=strictly):
                return False
        return True

    def pivot(self, use: _Uses) -> int | None:
        """Return the row to solve for the variable."""
        if use.equalities:
            return next((row for row in use.equalities if self.auxiliaries[row] == 1), None)
        for sign in (1.0, -1.0):
            bounds = [row for row, value in use.inequalities.items() if sign * value < 0]
            if len(bounds) == 1 and self.auxiliaries[bounds[0]] == 1 and self._may_move(use, sign):
                return bounds[0]
        return None

    def vacuous(self, use: _Uses) -> set[int]:
        """Return the rows that hold for some value of the variable, whatever the others are."""
        for sign in (1.0, -1.0):
            grows = not use.equalities and all(sign * value > 0 for value in use.inequalities.values())
            if grows and self._may_move(use, sign, strictly=True):
                cones = [range(self.starts[k + 2], self.starts[k + 3]) for k in use.cones]
                return set(use.inequalities).union(*cones)
        return set()

    def result(self, pivots: dict[int, int], vacuous: set[int]) -> ConicForm:
        """Solve each pivot row for its variable, put the solution into all other rows and drop vacuous rows."""
        entries: dict[tuple[int, int], float] = {(r, r): 1.0 for r in range(len(self.rows))}
        for variable, pivot in pivots.items():
            coefficients = self.uses[variable].all
            for row, value in coefficients.items():
                entries[row, pivot] = entries.get((row, pivot), 0.0) - value / coefficients[pivot]
        index = np.array(list(entries), dtype=np.int64).T
        step = sp.csr_array((np.array(list(entries.values())), tuple(index)), shape=(len(self.rows),) * 2)
        rows = self.rows.combined(step)
        keep = np.ones(len(rows), dtype=bool)
        keep[list(vacuous)] = False
        parts = [np.arange(a, b)[keep[a:b]] for a, b in zip(self.starts, self.starts[1:], strict=False)]
        cones = zip(self.form.cones, parts[2:], strict=True)
        return dataclasses.replace(
            self.form,
            equalities=rows[parts[0]],
            inequalities=rows[parts[1]],
            cones=tuple(dataclasses.replace(cone, rows=rows[part]) for cone, part in cones if len(part)),
        )


def eliminate(form: ConicForm) -> ConicForm | None:
    """Eliminate all auxiliary variables that can be at once; return None where there is none."""
    if form.auxiliary == 0:
        return None
    step = _Elimination(form)
    pivots: dict[int, int] = {}
    vacuous: set[int] = set()
    for variable, use in step.uses.items():
        pivot = step.pivot(use)
        if pivot is not None:
            pivots[variable] = pivot
        else:
            vacuous |= step.vacuous(use)
    pivots = {variable: pivot for variable, pivot in pivots.items() if pivot not in vacuous}
    return step.result(pivots, vacuous) if pivots or vacuous else None
