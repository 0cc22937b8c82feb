"""Substitution of entries whose value is known: ``y_j == c``, or two bounds that meet."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.bounds import collect_sides, entries_per_row, read_bounds, sort_rows
from optlayers.compiler.conic_form import ConicForm


def substitute_fixed(form: ConicForm) -> ConicForm:
    """Put the values of fixed entries into all rows but those that bound one entry; repeat while there are new ones."""
    done: set[int] = set()
    while True:
        form = _with_met_bounds(form)
        bounds = sort_rows(form.equalities)[0]
        entries, coefficient, _ = read_bounds(bounds)
        first = np.unique(entries, return_index=True)[1]
        new = first[~np.isin(entries[first], list(done))]
        entry = entries[new]
        if len(entry) == 0:
            return form
        done.update(entry.tolist())
        pivots = bounds[new].combined(sp.diags_array(1 / coefficient[new]))
        cones = (dataclasses.replace(c, rows=_substitute(c.rows, pivots, entry)) for c in form.cones)
        form = dataclasses.replace(
            form,
            equalities=_substitute_in_several(form.equalities, pivots, entry),
            inequalities=_substitute_in_several(form.inequalities, pivots, entry),
            cones=tuple(cones),
        )


def _substitute_in_several(rows: AffineRows, pivots: AffineRows, entry: np.ndarray) -> AffineRows:
    several = np.flatnonzero((entries_per_row(rows) > 1) | rows.is_parametric)
    if len(several) == 0:
        return rows
    others = np.setdiff1d(np.arange(len(rows)), several)
    return AffineRows.concatenate([rows[others], _substitute(rows[several], pivots, entry)])


def _substitute(rows: AffineRows, pivots: AffineRows, entry: np.ndarray) -> AffineRows:
    """Subtract multiples of the rows ``y_entry - value`` so that `rows` no longer contain these entries."""
    change = rows.matrix[:, entry]
    if change.nnz == 0:
        return rows
    both = AffineRows.concatenate([rows, pivots])
    return both.combined(sp.hstack([sp.eye_array(len(rows)), -change]))


def _with_met_bounds(form: ConicForm) -> ConicForm:
    """Add the equality ``y_j == c`` where the inequalities ``y_j >= c`` and ``y_j <= c`` meet."""
    bounds, several, _ = sort_rows(form.inequalities)
    if len(several) + len(form.cones) + len(form.equalities) == 0:
        return form
    lower, upper = (side.numbers for side in collect_sides(bounds))
    met = np.isfinite(lower) & (lower == upper)
    met[read_bounds(sort_rows(form.equalities)[0])[0]] = False
    entry, coefficient, bound = read_bounds(bounds)
    met[entry[bound.is_parametric]] = False  # these are not to be fixed where the set is empty
    tight = np.flatnonzero(met[entry] & (bound.constant == lower[entry]))
    if len(tight) == 0:
        return form
    entries, index = np.unique(entry[tight], return_inverse=True)
    weights = 1 / (coefficient[tight] * np.bincount(index)[index])  # the mean: it comes from all of them
    mean = sp.csr_array((weights, (index, np.arange(len(index)))), shape=(len(entries), len(index)))
    equalities = AffineRows.concatenate([form.equalities, bounds[tight].combined(mean)])
    return dataclasses.replace(form, equalities=equalities)
