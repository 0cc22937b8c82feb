"""Rewriting of composed epigraphs: sums of squares, norms inside norms, one epigraph under several bounds.

CVXPY gives each atom an auxiliary variable above its value. Where several atoms together are one second-order cone,
they are put together here; the set on the user's variables stays exactly as it is.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
import scipy.sparse as sp

from optlayers.affine_rows import AffineRows
from optlayers.conic_form import Cone, ConicForm

_MOST_COPIES = 4


class _Uses:
    """Where auxiliary variables stand: (part, row) with coefficient, for those with constant coefficients only."""

    def __init__(self, form: ConicForm) -> None:
        self.form = form
        self.parts = [form.equalities, form.inequalities, *(cone.rows for cone in form.cones)]
        self.of: dict[int, dict[tuple[int, int], float]] = defaultdict(dict)
        self.in_row: dict[tuple[int, int], list[int]] = defaultdict(list)
        rows = AffineRows.concatenate(self.parts)
        starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])
        row, column, parameter, value = rows.triplets()
        auxiliary = (column >= form.size) & (column < rows.n)
        parametric = set(column[auxiliary & (parameter < rows.parameters)].tolist())
        part = np.searchsorted(starts, row[auxiliary], side="right") - 1
        local = row[auxiliary] - starts[part]
        entries = (part.tolist(), local.tolist(), column[auxiliary].tolist(), value[auxiliary].tolist())
        for k, r, c, v in zip(*entries, strict=True):
            self.in_row[k, r].append(c)
            if c not in parametric:
                self.of[c][k, r] = v


def compose(form: ConicForm) -> ConicForm | None:
    """Apply the first rule that applies anywhere; return None where none does."""
    if form.auxiliary == 0:
        return None
    uses = _Uses(form)
    return _merge_squares(uses) or _nest_norms(uses) or _split_bounds(uses)


def _merge_squares(uses: _Uses) -> ConicForm | None:
    """Replace ``sum_i w_i t_i <= r, q_i <= t_i`` with squares ``q_i`` by one cone.

    A cone ``||(tail, b t + g)|| <= a t + h`` with ``a = |b|`` and a number ``k = h - s g > 0``, ``s = sign(b)``, says
    ``||tail||^2 <= k (2 a t + h + s g)``.
    """
    form = uses.form
    dropped: set[int] = set()
    cones: list[Cone] = []
    keep = np.ones(len(form.inequalities), dtype=bool)
    for r in range(len(form.inequalities)):
        variables = uses.in_row.get((1, r), [])
        squares = [_square(uses, variable, r) for variable in variables]
        if len(squares) < 2 or any(square is None for square in squares):
            continue
        bound, tails, source = form.inequalities[r : r + 1], [], int(form.inequalities.source[r])
        for part, total, tail in (square for square in squares if square is not None):
            dropped.add(part - 2)
            bound = bound + total
            tails.append(tail)
        one = bound.numbers(np.array([1.0]), source)
        keep[r] = False
        cones.append(Cone("soc", AffineRows.concatenate([bound + one, bound + (-one), *tails])))
    if keep.all():
        return None
    rest = [cone for k, cone in enumerate(form.cones) if k not in dropped]
    return dataclasses.replace(form, inequalities=form.inequalities[keep], cones=(*rest, *cones))


def _square(uses: _Uses, variable: int, row: int) -> tuple[int, AffineRows, AffineRows] | None:
    """Return the part of the cone, what to add to the row to be rid of the variable, and twice the scaled tail."""
    places = uses.of.get(variable, {})
    weight = -places.get((1, row), 0.0)
    others = [place for place in places if place != (1, row)]
    if weight <= 0 or len(others) != 2 or others[0][0] != others[1][0] or others[0][0] < 2:
        return None
    part = others[0][0]
    cone = uses.form.cones[part - 2]
    (_, head), (_, other) = sorted(others)
    a, b = places[part, head], places[part, other]
    if cone.kind != "soc" or head != 0 or a <= 0 or abs(abs(b) - a) > 1e-12 * a:
        return None
    pair = cone.rows[np.array([head, other])]
    difference = pair.combined(np.array([[1.0, -np.sign(b)]]), pair.source[:1])
    constant = float(difference.offset.constant[0])
    if not difference.is_fixed[0] or constant <= 0:
        return None
    total = pair.combined(np.array([[1.0, np.sign(b)]]) * weight / (2 * a), pair.source[:1])
    tail = cone.rows[np.array([k for k in range(1, len(cone.rows)) if k != other], dtype=np.int64)]
    factor = 2 * np.sqrt(weight / (2 * a * constant))
    return part, total, tail.combined(sp.eye_array(len(tail)) * factor)


def _nest_norms(uses: _Uses) -> ConicForm | None:
    """Replace ``||tail|| <= a t`` and a lone ``b t`` in another cone's tail by ``(b / a) tail`` in that tail."""
    form = uses.form
    for places in uses.of.values():
        if len(places) != 2 or min(part for part, _ in places) < 2:
            continue
        (inner, head), (outer, row) = sorted(places, key=lambda place: place[1])
        a, b = places[inner, head], places[outer, row]
        one, other = form.cones[inner - 2], form.cones[outer - 2]
        lone = np.diff(one.rows.data.indptr)[head] == np.diff(other.rows.data.indptr)[row] == 1
        if inner == outer or head != 0 or row == 0 or a <= 0 or not lone or (one.kind, other.kind) != ("soc", "soc"):
            continue
        tail = one.rows[1:].combined(sp.eye_array(len(one.rows) - 1) * (b / a))
        rest = other.rows[np.array([k for k in range(len(other.rows)) if k != row])]
        merged = Cone("soc", AffineRows.concatenate([rest, tail]))
        cones = [cone for k, cone in enumerate(form.cones) if k not in (inner - 2, outer - 2)]
        return dataclasses.replace(form, cones=(*cones, merged))
    return None


def _split_bounds(uses: _Uses) -> ConicForm | None:
    """Give each of several upper bounds of one epigraph variable a copy of the epigraph.

    With cones and rows that allow `t` to grow, ``t <= u, t <= w`` says that they hold at `u` and at `w`.
    """
    form = uses.form
    for variable, places in uses.of.items():
        bounds = [place for place, value in places.items() if place[0] == 1 and value < 0]
        alone = all(uses.in_row[place] == [variable] for place in bounds)
        heads = all(part >= 2 and row == 0 and value > 0 for (part, row), value in places.items() if part != 1)
        grows = [place for place in places if place not in bounds]
        if not (1 < len(bounds) <= _MOST_COPIES and alone and heads and grows):
            continue
        if any(form.cones[part - 2].kind != "soc" for part, _ in grows if part >= 2):
            continue
        return _copy_epigraph(uses, variable, bounds, grows)
    return None


def _copy_epigraph(
    uses: _Uses, variable: int, bounds: list[tuple[int, int]], grows: list[tuple[int, int]]
) -> ConicForm:
    form, extra = uses.form, len(bounds) - 1
    equalities, inequalities, *cones = (_widened(part, extra) for part in uses.parts)
    rows = np.array([row for part, row in grows if part == 1], dtype=np.int64)
    copies = [inequalities]
    result = [dataclasses.replace(c, rows=r) for c, r in zip(form.cones, cones, strict=True)]
    for k, (_, bound) in enumerate(bounds[1:]):
        new = inequalities.n - extra + k
        copies[0] = _renamed(copies[0], variable, new, np.array([bound]))
        copies.append(_renamed(inequalities[rows], variable, new, np.arange(len(rows))))
        for part in {part for part, _ in grows if part >= 2}:
            cone = form.cones[part - 2]
            result.append(dataclasses.replace(cone, rows=_renamed(cones[part - 2], variable, new, np.array([0]))))
    return dataclasses.replace(
        form, equalities=equalities, inequalities=AffineRows.concatenate(copies), cones=tuple(result)
    )


def _widened(rows: AffineRows, extra: int) -> AffineRows:
    """Return the rows with `extra` more auxiliary variables, which they do not contain."""
    row, column, parameter, value = rows.triplets()
    column = np.where(column == rows.n, rows.n + extra, column)
    return _from_triplets(rows, rows.n + extra, row, column, parameter, value)


def _renamed(rows: AffineRows, old: int, new: int, where: np.ndarray) -> AffineRows:
    """Return the rows with variable `new` in place of `old` in the rows `where`."""
    row, column, parameter, value = rows.triplets()
    column = np.where((column == old) & np.isin(row, where), new, column)
    return _from_triplets(rows, rows.n, row, column, parameter, value)


def _from_triplets(
    rows: AffineRows, n: int, row: np.ndarray, column: np.ndarray, parameter: np.ndarray, value: np.ndarray
) -> AffineRows:
    width = rows.parameters + 1
    data = sp.csr_array((value, (row, column * width + parameter)), shape=(len(rows), (n + 1) * width))
    return AffineRows(data, n, rows.parameters, rows.source)
