"""Rewriting of composed epigraphs: sums of squares, norms inside norms, one epigraph under several bounds.

CVXPY gives each atom an auxiliary variable above its value. Where several atoms together are one second-order cone,
they are put together here; the set on the user's variables stays exactly as it is.
"""

import dataclasses

import numpy as np

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.conic_form import Cone, ConicForm
from optlayers.compiler.squares import merge_squares

_MOST_COPIES = 4


def compose(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Apply the first rule that applies anywhere; return None where none does."""
    return merge_squares(auxiliaries) or _nest_norms(auxiliaries) or _split_bounds(auxiliaries)


def _nest_norms(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Replace ``||tail|| <= a t`` and a lone ``b t`` in another cone's tail by ``(b / a) tail`` in that tail."""
    form, entries = auxiliaries.form, np.diff(auxiliaries.rows.data.indptr)
    merged: dict[int, dict[int, AffineRows]] = {}  # by outer cone and position, what comes in
    inner_cones: set[int] = set()
    for use in auxiliaries.uses.values():
        if len(use) != 2 or any(entries[row] != 1 or auxiliaries.part(row) < 2 for row in use):
            continue
        positions = sorted((row - int(auxiliaries.starts[auxiliaries.part(row)]), row) for row in use)
        (head, inner_row), (position, outer_row) = positions
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
    if n == auxiliaries.rows.n:
        return None
    wide = form.map(lambda rows: rows.moved(np.append(np.arange(rows.n), n)))
    rows = wide.inequalities
    parts = [rows.renamed(old, new)]
    if copied_rows:
        which, olds, news = np.array(copied_rows).T
        parts.append(rows[which].renamed(olds, news))
    copies = [Cone("soc", wide.cones[k].rows.renamed(o, c)) for k, o, c in copied_cones]
    return dataclasses.replace(wide, inequalities=AffineRows.concatenate(parts), cones=(*wide.cones, *copies))
