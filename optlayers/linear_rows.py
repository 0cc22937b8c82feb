"""What linear rows say: bounds on single entries, and bounds on several entries' linear functions.

Rows are compared by what they mean: scalings and duplicates are dropped, parallel rows become one row with two
bounds, and a row that the bounds imply is dropped.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from optlayers.affine_rows import AffineRows
from optlayers.block import Row
from optlayers.parametric import Affine, Data, largest, smallest

_DIGITS = 11  # normalised coefficients that agree to this many digits belong to parallel rows


@dataclass
class Side:
    """The lower or the upper bounds of all entries, as layers whose maximum (minimum) is the bound."""

    layers: list[Affine]
    sources: dict[int, list[int]]
    sign: float  # +1: lower bounds, the largest counts; -1: upper bounds, the smallest counts

    def on(self, columns: np.ndarray) -> Data | None:
        """Return the bound on some entries, or None where none of them is bounded."""
        parts = [layer[columns] for layer in self.layers]
        parts = [p for p in parts if not p.is_constant or np.isfinite(p.constant).any()]
        if not parts:
            return None
        return largest(parts) if self.sign > 0 else smallest(parts)

    @property
    def fixed(self) -> np.ndarray:
        """The bounds where they are numbers; infinite where there are none or they depend on parameters."""
        result = np.full(self.layers[0].shape, -np.inf * self.sign)
        parametric = np.zeros(len(result), dtype=bool)
        for layer in self.layers:
            parametric |= np.diff(layer.linear.indptr) > 0
            result = np.maximum(result, layer.constant) if self.sign > 0 else np.minimum(result, layer.constant)
        result[parametric] = -np.inf * self.sign
        return result


@dataclass
class LinearRows:
    """Bounds on entries, rows with several entries (as columns and a `Row` on them), rows without entries."""

    lower: Side
    upper: Side
    rows: list[tuple[np.ndarray, Row]] = field(default_factory=list)


def collect_side(rows: AffineRows, column: np.ndarray, coefficient: np.ndarray, sign: float) -> Side:
    """Collect the bounds ``sign * (y - bound) >= 0`` that rows ``coefficient * y + offset`` give."""
    bound = rows.offset.scaled(-1 / coefficient)
    parametric = np.diff(bound.linear.indptr) > 0
    sources: dict[int, list[int]] = defaultdict(list)
    constant = np.full(rows.n, -np.inf * sign)
    best = np.maximum if sign > 0 else np.minimum
    best.at(constant, column[~parametric], bound.constant[~parametric] + 0.0)  # + 0.0: no negative zero
    for c, s in zip(column.tolist(), rows.source.tolist(), strict=True):
        if s not in sources[c]:
            sources[c].append(s)
    depth: dict[int, int] = defaultdict(int)
    members: list[list[int]] = [[]]
    for k in np.flatnonzero(parametric).tolist():
        c = int(column[k])
        level = depth[c] + (1 if np.isfinite(constant[c]) else 0)
        depth[c] += 1
        while len(members) <= level:
            members.append([])
        members[level].append(k)
    layers = []
    for level, chosen in enumerate(members):
        values = constant.copy() if level == 0 else np.full(rows.n, -np.inf * sign)
        values[column[chosen]] = bound.constant[chosen]
        place = sp.csr_array((np.ones(len(chosen)), (column[chosen], chosen)), shape=(rows.n, len(rows)))
        layers.append(Affine(values, sp.csr_array(place @ bound.linear)))
    return Side(layers, dict(sources), sign)


def merge_parallel(equalities: AffineRows, inequalities: AffineRows) -> list[tuple[np.ndarray, Row]]:
    """Return the rows, each scaled so that its largest coefficient is 1, parallel ones merged."""
    groups: dict[object, list[tuple[Affine, bool, float, int]]] = defaultdict(list)
    shapes: dict[object, tuple[np.ndarray, Affine]] = {}
    for rows, equality in ((equalities, True), (inequalities, False)):
        matrix, offset, parametric = rows.matrix, rows.offset, rows.is_parametric
        for k in range(len(rows)):
            level = offset[np.array([k])].reshaped()
            if parametric[k]:
                columns, normal, scale = _parametric_normal(rows, k)
                linear = normal.linear
                key = (columns.tobytes(), _rounded(normal.constant), _rounded(linear.data))
                key = (*key, linear.indices.tobytes(), linear.indptr.tobytes())
            else:
                columns, values = _entries(matrix, k)
                scale = values[np.abs(values).argmax()]
                normal = Affine.of(values / scale, rows.parameters)
                key = (columns.tobytes(), _rounded(values / scale))
            shapes.setdefault(key, (columns, normal))
            groups[key].append((level.scaled(-1 / scale), equality, scale, int(rows.source[k])))
    return [(shapes[key][0], _merge(shapes[key][1], members)) for key, members in groups.items()]


def _entries(matrix: sp.csr_array, row: int) -> tuple[np.ndarray, np.ndarray]:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    columns, values = matrix.indices[span].astype(np.int64), matrix.data[span]
    order = np.argsort(columns)
    return columns[order], values[order]


def _rounded(values: np.ndarray) -> bytes:
    return (np.round(values, _DIGITS) + 0.0).tobytes()  # + 0.0: no negative zero


def _parametric_normal(rows: AffineRows, row: int) -> tuple[np.ndarray, Affine, float]:
    """Return the entries, the normal scaled so that its largest coefficient is 1, and the scale."""
    normal = rows.coefficients(row)
    columns = np.flatnonzero((normal.constant != 0) | (np.diff(normal.linear.indptr) > 0))
    normal = normal[columns]
    normal.linear.sort_indices()
    values = np.concatenate([normal.constant, normal.linear.data])
    scale = float(values[np.abs(values).argmax()])
    return columns, normal.scaled(1 / scale), scale


def _merge(normal: Affine, members: list[tuple[Affine, bool, float, int]]) -> Row:
    """Merge ``scale * (normal @ y - level)`` that are zero (equality) or nonnegative."""
    lower: list[Affine] = []
    upper: list[Affine] = []
    for level, equality, scale, _ in members:
        for side, applies in ((lower, equality or scale > 0), (upper, equality or scale < 0)):
            if applies and not any(_equal(level, other) for other in side):
                side.append(level)
    sources = tuple(dict.fromkeys(source for *_, source in members))
    low = largest(lower) if lower else None
    high = smallest(upper) if upper else None
    if isinstance(low, Affine) and isinstance(high, Affine) and _equal(low, high):
        high = low
    return Row(normal, low, high, sources)


def _equal(one: Affine, other: Affine) -> bool:
    close = np.allclose(one.constant, other.constant, rtol=1e-13, atol=0.0)
    return close and (one.linear - other.linear).count_nonzero() == 0


def without_implied(
    rows: list[tuple[np.ndarray, Row]], lower: np.ndarray, upper: np.ndarray
) -> list[tuple[np.ndarray, Row]]:
    """Drop the numeric bounds of rows that follow from numeric bounds on the entries (by interval arithmetic)."""
    result = []
    for columns, row in rows:
        if row.is_equality or not row.normal.is_constant:
            result.append((columns, row))
            continue
        a = row.normal.constant
        smallest_sum = float(np.where(a > 0, a * lower[columns], a * upper[columns]).sum())
        largest_sum = float(np.where(a > 0, a * upper[columns], a * lower[columns]).sum())
        low = None if _number(row.lower) is not None and smallest_sum >= _number(row.lower) else row.lower
        high = None if _number(row.upper) is not None and largest_sum <= _number(row.upper) else row.upper
        if low is not None or high is not None:
            result.append((columns, Row(row.normal, low, high, row.sources)))
    return result


def _number(data: Data | None) -> float | None:
    return float(data.constant) if isinstance(data, Affine) and data.is_constant else None
