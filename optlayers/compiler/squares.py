"""Squares: second-order cones whose head and one row of whose tail differ by a number.

CVXPY writes ``||x||^2 <= t`` as the cone ``||(1 - t, 2 x)|| <= 1 + t``. What `t` is at most, say `c`, may have any
size, and ``1 + c`` and ``1 - c`` lose one of their parts: `balance` writes ``||(c - t, 2 sqrt(c) x)|| <= c + t``.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.auxiliaries import Auxiliaries
from optlayers.compiler.conic_form import Cone, ConicForm


@dataclass(frozen=True)
class _Square:
    """A cone that says ``||tail||^2 <= gap * (2 slope t + offset)``.

    Its head is ``slope t + h``, one row of its tail ``sign (slope t + g)``, and ``gap = h - g``, ``offset = h + g``.
    """

    cone: int
    position: int
    sign: float
    slope: float
    gap: float
    offset: float


def _read_square(auxiliaries: Auxiliaries, variable: int) -> _Square | None:
    """Return the only cone that an auxiliary variable `t` is in, if it is a square."""
    directions = auxiliaries.cones(auxiliaries.uses.get(variable, {}))
    if len(directions) != 1:
        return None
    ((k, direction),) = directions.items()
    cone, positions = auxiliaries.form.cones[k], np.flatnonzero(direction)
    if cone.kind != "soc" or len(positions) != 2 or positions[0] != 0:
        return None
    (slope, other), position = direction[positions], int(positions[1])
    if slope <= 0 or abs(abs(other) - slope) > 1e-12 * slope:
        return None
    sign = float(np.sign(other))
    difference = cone.rows[positions].combined(np.array([[1.0, -sign]]))
    gap = float(difference.offset.constant[0])
    if not difference.is_fixed[0] or gap <= 0:
        return None
    offset = cone.rows[positions].combined(np.array([[1.0, sign]])).offset.constant
    return _Square(k, position, sign, float(slope), gap, float(offset[0]))


def balance(form: ConicForm, user_rows: Collection[int] = ()) -> ConicForm:
    """Bring the terms of squares to the size of a number that bounds them, so that nothing cancels.

    The gap grows by the factor `scale`, and ``2 slope t + offset`` shrinks by it: a Lorentz transformation, which
    leaves the cone as it is. Cones with rows in `user_rows` stay.
    """
    if not form.cones or not form.auxiliary:
        return form
    auxiliaries = Auxiliaries(form)
    starts, level = auxiliaries.starts, form.inequalities.offset.constant
    squares: dict[int, tuple[_Square, float]] = {}  # by cone, with the scale
    for variable, use in auxiliaries.uses.items():
        bounds = [row for row, value in auxiliaries.in_part(use, 1).items() if value < 0]
        bounds = [row for row in bounds if auxiliaries.members[row] == [variable]]
        square = _read_square(auxiliaries, variable) if bounds else None
        if square is None or int(starts[square.cone + 2]) in user_rows:
            continue
        most = max(abs(level[row - int(starts[1])] / use[row]) for row in bounds)
        size = abs(2 * square.slope * most + square.offset)
        if most > 0 and 0 < size < np.inf:
            squares[square.cone] = square, np.sqrt(size / square.gap)
    if not squares:
        return form
    heads = np.array([starts[k + 2] for k in squares])
    positions = heads + np.array([square.position for square, _ in squares.values()])
    sign = np.array([square.sign for square, _ in squares.values()])
    scale = np.array([scale for _, scale in squares.values()]) / 2
    apart = _on_pairs(len(auxiliaries.rows), heads, positions, (1.0, -sign, 1.0, sign))
    together = _on_pairs(
        len(auxiliaries.rows), heads, positions, (scale, 0.25 / scale, -sign * scale, 0.25 * sign / scale)
    )
    return auxiliaries.with_rows(auxiliaries.rows.combined(apart).combined(together))


def _on_pairs(size: int, first: np.ndarray, second: np.ndarray, block: tuple[Any, Any, Any, Any]) -> sp.csr_array:
    """Return the matrix that maps pairs of entries by the rows of 2 x 2 blocks, and keeps the others."""
    others = np.setdiff1d(np.arange(size), np.concatenate([first, second]))
    values = np.concatenate([np.ones(len(others)), *(np.broadcast_to(part, first.shape) for part in block)])
    row = np.concatenate([others, first, first, second, second])
    column = np.concatenate([others, first, second, first, second])
    return sp.csr_array((values, (row, column)), shape=(size, size))


def merge_squares(auxiliaries: Auxiliaries) -> ConicForm | None:
    """Replace ``sum_i weight_i t_i <= r`` with squares ``q_i <= t_i`` by one cone."""
    form, first = auxiliaries.form, int(auxiliaries.starts[1])
    merged: set[int] = set()
    cones: list[Cone] = []
    keep = np.ones(len(form.inequalities), dtype=bool)
    for r in range(len(form.inequalities) if form.cones else 0):
        variables = auxiliaries.members.get(first + r, [])
        if len(variables) < 2:
            continue
        terms = [_weighted(auxiliaries, variable, first + r) for variable in variables]
        squares = [term for term in terms if term is not None]
        used = {k for k, _, _ in squares}
        if len(used) < len(terms) or used & merged:
            continue
        merged.update(used)
        keep[r] = False
        bound = AffineRows.concatenate([form.inequalities[r : r + 1], *(shift for _, shift, _ in squares)])
        bound = bound.combined(np.ones((1, len(bound))))
        size = abs(float(bound.offset.constant[0])) or 1.0
        ends = AffineRows.concatenate([bound, bound.numbers(size)]).combined(np.array([[1.0, 1.0], [1.0, -1.0]]))
        tails = [tail.scaled(2 * np.sqrt(size)) for _, _, tail in squares]
        cones.append(Cone("soc", AffineRows.concatenate([ends, *tails])))
    if keep.all():
        return None
    rest = [cone for k, cone in enumerate(form.cones) if k not in merged]
    return dataclasses.replace(form, inequalities=form.inequalities[keep], cones=(*rest, *cones))


def _weighted(auxiliaries: Auxiliaries, variable: int, row: int) -> tuple[int, AffineRows, AffineRows] | None:
    """Return the cone, what to add to the row to be rid of ``weight t``, and what it is the square of."""
    use = auxiliaries.uses.get(variable, {})
    weight = -use.get(row, 0.0)
    square = _read_square(auxiliaries, variable) if weight > 0 and len(use) == 3 else None
    if square is None:
        return None
    rows, share = auxiliaries.form.cones[square.cone].rows, weight / (2 * square.slope)
    shift = rows[np.array([0, square.position])].combined(share * np.array([[1.0, square.sign]]))
    tail = rows[np.setdiff1d(np.arange(1, len(rows)), [square.position])]
    return square.cone, shift, tail.scaled(np.sqrt(share / square.gap))
