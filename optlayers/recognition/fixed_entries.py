"""Substitution of entries whose value is known: ``y_j == c``, or two bounds that meet."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm
from optlayers.recognition.bounds import collect_side, entries_per_row, sort_rows


def substitute_fixed(form: ConicForm) -> ConicForm:
    """Put the values of fixed entries into all rows but those that bound one entry; repeat while there are new ones."""
    done: set[int] = set()
    while True:
        form = _with_met_bounds(form)
        bounds = sort_rows(form.equalities).bounds
        first = np.unique(bounds.entry, return_index=True)[1]
        new = bounds[first[~np.isin(bounds.entry[first], list(done))]]
        if len(new.entry) == 0:
            return form
        done.update(new.entry.tolist())
        pivots = new.rows.combined(sp.diags_array(1 / new.coefficient))
        cones = (dataclasses.replace(c, rows=_substitute(c.rows, pivots, new.entry)) for c in form.cones)
        form = dataclasses.replace(
            form,
            equalities=_substitute_in_several(form.equalities, pivots, new.entry),
            inequalities=_substitute_in_several(form.inequalities, pivots, new.entry),
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
    rows = sort_rows(form.inequalities)
    if len(rows.several) + len(form.cones) + len(form.equalities) == 0:
        return form
    bounds = rows.bounds
    lower, upper = (collect_side(bounds[sign * bounds.coefficient > 0], sign).fixed for sign in (1.0, -1.0))
    met = np.isfinite(lower) & (lower == upper)
    met[sort_rows(form.equalities).bounds.entry] = False
    value = -bounds.rows.offset.constant / bounds.coefficient
    tight = np.flatnonzero(met[bounds.entry] & (value == lower[bounds.entry]))
    if len(tight) == 0:
        return form
    fixing = bounds[tight]
    entries, index = np.unique(fixing.entry, return_inverse=True)
    weights = 1 / (fixing.coefficient * np.bincount(index)[index])  # the mean: it comes from all of them
    mean = sp.csr_array((weights, (index, np.arange(len(index)))), shape=(len(entries), len(index)))
    equalities = AffineRows.concatenate([form.equalities, fixing.rows.combined(mean)])
    return dataclasses.replace(form, equalities=equalities)
