"""From a conic form to blocks: connected components of the bipartite graph of constraints and entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from optlayers.affine_rows import AffineRows
from optlayers.block import Block, BlockCone, Row
from optlayers.conic_form import Cone, ConicForm
from optlayers.linear_rows import Side, collect_side, merge_parallel, without_implied
from optlayers.parametric import Affine


@dataclass(frozen=True, eq=False)
class Conditions:
    """Rows without entries of ``y``: what the constraints ask of the parameters alone."""

    equalities: AffineRows
    inequalities: AffineRows


def decompose(form: ConicForm) -> tuple[list[Block], Conditions]:
    """Split a presolved form into blocks; entries that only have bounds share one block, the first."""
    form = _substitute_fixed(form)
    (equal_bounds, equal_rows, equal_empty), equal_entry = _sort_rows(form.equalities)
    (bounds, other_rows, empty), entry = _sort_rows(form.inequalities)
    lower, upper = _collect_bounds(form, (equal_bounds, equal_entry), (bounds, entry))
    rows = without_implied(merge_parallel(equal_rows, other_rows), lower.fixed, upper.fixed)
    cones = _distinct(form.cones)
    blocks = _connect(form, rows, cones, lower, upper)
    return blocks, Conditions(equal_empty, empty)


def _entries_per_row(rows: AffineRows) -> np.ndarray:
    row, column, _, _ = rows.triplets()
    pairs = np.unique(np.stack([row, column])[:, column < rows.n], axis=1)
    return np.bincount(pairs[0], minlength=len(rows))


def _sort_rows(rows: AffineRows) -> tuple[tuple[AffineRows, AffineRows, AffineRows], tuple[np.ndarray, np.ndarray]]:
    """Return (bounds, rows with several entries, rows with none); the bounds' entries and coefficients."""
    count = _entries_per_row(rows)
    single = (count == 1) & ~rows.is_parametric
    bounds = rows[single]
    row, column, _, value = bounds.triplets()
    own = column < rows.n
    order = np.argsort(row[own])
    return (bounds, rows[(count > 0) & ~single], rows[count == 0]), (column[own][order], value[own][order])


def _collect_bounds(
    form: ConicForm,
    fixed: tuple[AffineRows, tuple[np.ndarray, np.ndarray]],
    bounds: tuple[AffineRows, tuple[np.ndarray, np.ndarray]],
) -> tuple[Side, Side]:
    sides = []
    for sign in (1.0, -1.0):
        keep = np.flatnonzero(sign * bounds[1][1] > 0)
        rows = AffineRows.concatenate([fixed[0], bounds[0][keep]])
        column = np.concatenate([fixed[1][0], bounds[1][0][keep]])
        coefficient = np.concatenate([fixed[1][1], bounds[1][1][keep]])
        sides.append(collect_side(rows, column, coefficient, sign))
    return sides[0], sides[1]


def _substitute_fixed(form: ConicForm) -> ConicForm:
    """Put the values of fixed entries (``x_j == c``, or two bounds that meet) into all other rows."""
    done: set[int] = set()
    while True:
        form = _with_met_bounds(form)
        (bounds, _, _), (column, coefficient) = _sort_rows(form.equalities)
        new = [k for k in np.unique(column, return_index=True)[1].tolist() if int(column[k]) not in done]
        if not new:
            return form
        done.update(column[new].tolist())
        pivots = bounds[np.array(new)]
        pivots = pivots.combined(sp.diags_array(1 / coefficient[new]))
        form = ConicForm(
            form.size,
            _substitute(form.equalities, pivots, column[new]),
            _substitute(form.inequalities, pivots, column[new]),
            tuple(
                Cone(c.kind, _substitute(c.rows, pivots, column[new], spare_bounds=False), c.alpha) for c in form.cones
            ),
            form.labels,
            form.origins,
        )


def _substitute(rows: AffineRows, pivots: AffineRows, column: np.ndarray, *, spare_bounds: bool = True) -> AffineRows:
    """Subtract multiples of the rows ``y_column - value`` so that `rows` no longer contain these entries."""
    if len(rows) == 0:
        return rows
    change = rows.matrix[:, column].tocsr()
    if spare_bounds:
        several = (_entries_per_row(rows) > 1) & ~rows.is_parametric
        change = sp.csr_array(sp.diags_array(several.astype(float)) @ change)
    if change.nnz == 0:
        return rows
    both = AffineRows.concatenate([rows, pivots])
    return both.combined(sp.hstack([sp.eye_array(len(rows)), -change]), source=rows.source)


def _with_met_bounds(form: ConicForm) -> ConicForm:
    """Add the equality ``y_j == c`` where the inequalities ``y_j >= c`` and ``y_j <= c`` meet."""
    (bounds, several, _), (column, coefficient) = _sort_rows(form.inequalities)
    if len(several) + len(form.cones) + len(form.equalities) == 0:
        return form
    sides = []
    for sign in (1.0, -1.0):
        keep = np.flatnonzero(sign * coefficient > 0)
        sides.append(collect_side(bounds[keep], column[keep], coefficient[keep], sign))
    met = np.isfinite(sides[0].fixed) & (sides[0].fixed == sides[1].fixed)
    (_, _, _), (known, _) = _sort_rows(form.equalities)
    met[known] = False
    extra = []
    for j in np.flatnonzero(met):
        tight = np.flatnonzero((column == j) & (-bounds.offset.constant / coefficient == sides[0].fixed[j]))
        extra.append(bounds[tight[:1]])
    if not extra:
        return form
    equalities = AffineRows.concatenate([form.equalities, *extra])
    return ConicForm(form.size, equalities, form.inequalities, form.cones, form.labels, form.origins)


def _distinct(cones: tuple[Cone, ...]) -> list[Cone]:
    """Drop repeated cones."""
    seen: dict[object, Cone] = {}
    for cone in cones:
        data = cone.rows.data
        data.sort_indices()
        key = (cone.kind, cone.alpha, data.indptr.tobytes(), data.indices.tobytes(), data.data.tobytes())
        seen.setdefault(key, cone)
    return list(seen.values())


def _connect(
    form: ConicForm, rows: list[tuple[np.ndarray, Row]], cones: list[Cone], lower: Side, upper: Side
) -> list[Block]:
    n = form.equalities.n
    cone_columns = []
    for cone in cones:
        column = cone.rows.triplets()[1]
        cone_columns.append(np.unique(column[column < n]))
    groups = [columns for columns, _ in rows] + cone_columns
    member = np.concatenate([np.zeros(0, dtype=np.int64), *groups])
    owner = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    graph = sp.coo_array((np.ones(len(member)), (owner + n, member)), shape=(n + len(groups),) * 2)
    _, label = connected_components(graph, directed=False)
    alone = np.ones(n, dtype=bool)
    alone[member] = False
    blocks = []
    if alone[: form.size].any():
        blocks.append(_block(form, np.flatnonzero(alone[: form.size]), [], [], lower, upper))
    order = np.argsort(label[:n], kind="stable")
    ranks, starts = np.unique(label[:n][order], return_index=True)
    columns_of = dict(zip(ranks.tolist(), np.split(order, starts[1:]), strict=True))
    rows_of: dict[int, list[tuple[np.ndarray, Row]]] = {}
    cones_of: dict[int, list[Cone]] = {}
    for k, group in enumerate(groups):
        component = int(label[n + k])
        if k < len(rows):
            rows_of.setdefault(component, []).append(rows[k])
        else:
            cones_of.setdefault(component, []).append(cones[k - len(rows)])
        del group
    for component in dict.fromkeys(label[:n][np.sort(member)].tolist()):
        blocks.append(
            _block(form, columns_of[component], rows_of.get(component, []), cones_of.get(component, []), lower, upper)
        )
    return blocks


def _block(
    form: ConicForm,
    columns: np.ndarray,
    rows: list[tuple[np.ndarray, Row]],
    cones: list[Cone],
    lower: Side,
    upper: Side,
) -> Block:
    """Collect one block in local coordinates."""
    columns = np.sort(columns)
    local_rows = tuple(
        Row(_spread(row.normal, np.searchsorted(columns, own), len(columns)), row.lower, row.upper, row.sources)
        for own, row in rows
    )
    sources = {
        local: tuple(dict.fromkeys([*lower.sources.get(column, []), *upper.sources.get(column, [])]))
        for local, column in enumerate(columns.tolist())
        if column in lower.sources or column in upper.sources
    }
    return Block(
        columns[columns < form.size],
        int((columns >= form.size).sum()),
        lower.on(columns),
        upper.on(columns),
        local_rows,
        tuple(_local_cone(cone, columns) for cone in cones),
        sources,
        form.equalities.parameters,
    )


def _spread(normal: Affine, index: np.ndarray, size: int) -> Affine:
    place = sp.csr_array((np.ones(len(index)), (index, np.arange(len(index)))), shape=(size, len(index)))
    return normal if size == len(index) else normal.mapped(place)


def _local_cone(cone: Cone, columns: np.ndarray) -> BlockCone:
    constant = not cone.rows.is_parametric.any()
    matrix = cone.rows.matrix[:, columns].toarray() if constant else None
    return BlockCone(cone.kind, matrix, cone.rows.offset, cone.alpha, int(cone.rows.source[0]))
