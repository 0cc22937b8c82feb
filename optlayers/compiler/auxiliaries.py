"""Where the auxiliary variables of a conic form stand."""

import bisect
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Collection
from functools import cached_property

import numpy as np

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm


class Auxiliaries:
    """The uses of auxiliary variables in all `rows`, numbered through equalities, inequalities and cones.

    Parts, the equalities, the inequalities and each cone, begin at `starts`. `uses` has the coefficients, by row, of
    each variable that has constant ones only; `members` the auxiliary variables of each row that has some.
    """

    def __init__(self, form: ConicForm) -> None:
        parts = [form.equalities, form.inequalities, *(cone.rows for cone in form.cones)]
        self.form = form
        self.rows = form.rows
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        self._starts: list[int] = self.starts.tolist()
        self.uses: dict[int, dict[int, float]] = defaultdict(dict)
        members: dict[int, dict[int, None]] = defaultdict(dict)  # in order, each once
        row, column, parameter, value = self.rows.triplets()
        auxiliary = (column >= form.size) & (column < self.rows.n)
        parametric = set(column[auxiliary & (parameter < self.rows.parameters)].tolist())
        for r, c, v in zip(row[auxiliary].tolist(), column[auxiliary].tolist(), value[auxiliary].tolist(), strict=True):
            members[r][c] = None
            if c not in parametric:
                self.uses[c][r] = v
        self.members = {r: list(columns) for r, columns in members.items()}

    def terms(self, row: int) -> dict[int, float] | None:
        """Return a row's coefficients by entry of ``y``, the offset's by n; None where one depends on parameters."""
        columns, values, is_parametric, ends = self._lists
        span = slice(ends[row], ends[row + 1])
        return None if is_parametric[row] else dict(zip(columns[span], values[span], strict=True))

    @cached_property
    def _lists(self) -> tuple[list[int], list[float], list[bool], list[int]]:
        """The entries of ``y``, and the coefficients, of all rows; which depend on parameters; where each starts."""
        row, column, parameter, value = self.rows.triplets()
        is_parametric = np.bincount(row[parameter < self.rows.parameters], minlength=len(self.rows)) > 0
        return column.tolist(), value.tolist(), is_parametric.tolist(), [int(start) for start in self.rows.data.indptr]

    def part(self, row: int) -> int:
        """Return 0 for an equality, 1 for an inequality, 2 + k for a row of cone k."""
        return bisect.bisect_right(self._starts, row) - 1

    def in_part(self, use: dict[int, float], part: int) -> dict[int, float]:
        """Return a variable's coefficients in one part, by row."""
        start, stop = self._starts[part], self._starts[part + 1]
        return {row: value for row, value in use.items() if start <= row < stop}

    def cones(self, use: dict[int, float]) -> dict[int, np.ndarray]:
        """Return a variable's coefficients in each cone that contains it, as a vector of the cone's dimension."""
        result: dict[int, np.ndarray] = {}
        for row, value in use.items():
            k = self.part(row) - 2
            if k >= 0:
                vector = result.setdefault(k, np.zeros(len(self.form.cones[k].rows)))
                vector[row - self.starts[k + 2]] = value
        return result

    def with_rows(self, rows: AffineRows, dropped: Collection[int] = ()) -> ConicForm:
        """Return the form with other rows in the places of all of its own, without some of them."""
        keep = np.ones(len(rows), dtype=bool)
        keep[list(dropped)] = False
        equalities, inequalities, *parts = (np.arange(a, b)[keep[a:b]] for a, b in itertools.pairwise(self.starts))
        cones = zip(self.form.cones, parts, strict=True)
        return dataclasses.replace(
            self.form,
            equalities=rows[equalities],
            inequalities=rows[inequalities],
            cones=tuple(dataclasses.replace(cone, rows=rows[part]) for cone, part in cones if len(part)),
        )
