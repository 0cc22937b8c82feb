"""Rewriting of composed epigraphs: sums of squares, norms inside norms, one epigraph under several bounds.

CVXPY gives each atom an auxiliary variable above its value. Where several atoms together are one second-order cone,
they are put together here; the set on the user's variables stays exactly as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.conic_form import Cone, ConicForm

_MOST_COPIES = 4


def compose(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Apply the first rule that applies anywhere; return None where none does."""
    return _merge_squares(auxiliaries) or _nest_norms(auxiliaries) or _split_bounds(auxiliaries)


def _merge_squares(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Replace ``sum_i w_i t_i <= r, q_i <= t_i`` with squares ``q_i`` by one cone.

    A cone ``||(tail, b t + g)|| <= a t + h`` with ``a = |b|`` and a number ``k = h - s g > 0``, ``s = sign(b)``, says
    ``||tail||^2 <= k (2 a t + h + s g)``.
    """
    form, first = auxiliaries.form, int(auxiliaries.starts[1])
    merged: set[int] = set()
    cones: list[Cone] = []
    keep = np.ones(len(form.inequalities), dtype=bool)
    for r in range(len(form.inequalities) if form.cones else 0):
        variables = auxiliaries.members.get(first + r, [])
        if len(variables) < 2:
            continue
        squares = [_square(auxiliaries, variable, first + r) for variable in variables]
        own = {square[0] for square in squares if square is not None}
        if len(own) < len(squares) or own & merged or None in squares:
            continue
        chosen = [square for square in squares if square is not None]
        merged.update(own)
        keep[r] = False
        parts = AffineRows.concatenate([form.inequalities[r : r + 1], *(total for _, total, _ in chosen)])
        ends = AffineRows.concatenate([parts, parts.numbers(1.0)])
        sums = ends.combined(np.array([[1.0] * len(parts) + [1.0], [1.0] * len(parts) + [-1.0]]))
        cones.append(Cone("soc", AffineRows.concatenate([sums, *(tail for _, _, tail in chosen)])))
    if keep.all():
        return None
    rest = [cone for k, cone in enumerate(form.cones) if k not in merged]
    return dataclasses.replace(form, inequalities=form.inequalities[keep], cones=(*rest, *cones))


def _square(auxiliaries: Auxiliaries, variable: int, row: int) -> tuple[int, AffineRows, AffineRows] | None:
    """Return which cone it is, what to add to the row to be rid of the variable, and twice the scaled tail."""
    use = auxiliaries.uses.get(variable, {})
    weight = -use.get(row, 0.0)
    if weight <= 0 or len(use) != 3:
        return None
    directions = auxiliaries.cones(use)
    if len(directions) != 1:
        return None
    ((k, direction),) = directions.items()
    cone, places = auxiliaries.form.cones[k], np.flatnonzero(direction)
    if cone.kind != "soc" or len(places) != 2 or places[0] != 0:
        return None
    (a, b), other = direction[places], int(places[1])
    if a <= 0 or abs(abs(b) - a) > 1e-12 * a:
        return None
    pair = cone.rows[places]
    difference = pair.combined(np.array([[1.0, -np.sign(b)]]))
    constant = float(difference.offset.constant[0])
    if not difference.is_fixed[0] or constant <= 0:
        return None
    total = pair.combined(np.array([[1.0, np.sign(b)]]) * weight / (2 * a))
    tail = cone.rows[np.setdiff1d(np.arange(1, len(cone.rows)), [other])]
    return k, total, tail.scaled(2 * np.sqrt(weight / (2 * a * constant)))


def _nest_norms(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Replace ``||tail|| <= a t`` and a lone ``b t`` in another cone's tail by ``(b / a) tail`` in that tail."""
    form, entries = auxiliaries.form, np.diff(auxiliaries.rows.data.indptr)
    merged: dict[int, dict[int, AffineRows]] = {}  # by outer cone and position, what comes in
    inner_cones: set[int] = set()
    for use in auxiliaries.uses.values():
        if len(use) != 2 or any(entries[row] != 1 or auxiliaries.part(row) < 2 for row in use):
            continue
        places = sorted((row - int(auxiliaries.starts[auxiliaries.part(row)]), row) for row in use)
        (head, inner_row), (position, outer_row) = places
        inner, outer = auxiliaries.part(inner_row) - 2, auxiliaries.part(outer_row) - 2
        one, other = form.cones[inner], form.cones[outer]
        a, b = use[inner_row], use[outer_row]
        if inner == outer or head != 0 or position == 0 or a <= 0 or (one.kind, other.kind) != ("soc", "soc"):
            continue
        if inner in merged or outer in inner_cones:
            continue  # another round
        inner_cones.add(inner)
        merged.setdefault(outer, {})[position] = one.rows[1:].scaled(b / a)
    if not merged:
        return None
    cones = []
    for k, cone in enumerate(form.cones):
        if k in merged:
            rest = cone.rows[np.setdiff1d(np.arange(len(cone.rows)), list(merged[k]))]
            cones.append(Cone("soc", AffineRows.concatenate([rest, *merged[k].values()])))
        elif k not in inner_cones:
            cones.append(cone)
    return dataclasses.replace(form, cones=tuple(cones))


def _split_bounds(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Give each of several upper bounds of one epigraph variable a copy of the epigraph.

    With cones and rows that allow `t` to grow, ``t <= u, t <= w`` says that they hold at `u` and at `w`.
    """
    form, start, n = auxiliaries.form, int(auxiliaries.starts[1]), auxiliaries.rows.n
    old, new = np.full((2, len(form.inequalities)), -1)
    copied_rows: list[tuple[int, int, int]] = []  # row or cone, variable, new variable
    copied_cones: list[tuple[int, int, int]] = []
    for variable, use in auxiliaries.uses.items():
        inequalities, cones = auxiliaries.in_part(use, 1), auxiliaries.cones(use)
        bounds = [row for row, value in inequalities.items() if value < 0]
        alone = all(auxiliaries.members[row] == [variable] for row in bounds)
        heads = all(form.cones[k].kind == "soc" and d[0] > 0 and not d[1:].any() for k, d in cones.items())
        grows = [row for row in inequalities if row not in bounds]
        several = 1 < len(bounds) <= _MOST_COPIES and not auxiliaries.in_part(use, 0)
        if not (several and heads and alone and (cones or grows)):
            continue
        for row in bounds[1:]:
            old[row - start], new[row - start] = variable, n
            copied_rows += [(other - start, variable, n) for other in grows]
            copied_cones += [(k, variable, n) for k in cones]
            n += 1
    extra = n - auxiliaries.rows.n
    if extra == 0:
        return None
    widened = [dataclasses.replace(cone, rows=cone.rows.widened(extra)) for cone in form.cones]
    rows = form.inequalities.widened(extra)
    parts = [rows.renamed(old, new)]
    if copied_rows:
        which, olds, news = np.array(copied_rows).T
        parts.append(rows[which].renamed(olds, news))
    copies = [dataclasses.replace(widened[k], rows=widened[k].rows.renamed(o, c)) for k, o, c in copied_cones]
    return dataclasses.replace(
        form,
        equalities=form.equalities.widened(extra),
        inequalities=AffineRows.concatenate(parts),
        cones=(*widened, *copies),
    )
