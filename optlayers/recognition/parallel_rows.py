"""Rows on several entries, compared by what they mean: parallel ones become one row with two bounds.

Scalings and duplicates disappear with that; numeric bounds that follow from bounds on the entries are dropped.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.parametric.symbolic import Affine, as_number, largest, smallest
from optlayers.recognition.block import Row

_Bound = tuple[Affine, tuple[int, ...]]  # a level, and the constraints that it comes from
_DIGITS = 11  # normalised coefficients that agree to this many digits belong to parallel rows


def merge_parallel(equalities: AffineRows, inequalities: AffineRows) -> list[tuple[np.ndarray, Row]]:
    """Return the rows, each scaled so that its largest coefficient is 1, parallel ones merged."""
    groups: dict[object, list[tuple[Affine, bool, float, tuple[int, ...]]]] = defaultdict(list)
    shapes: dict[object, tuple[np.ndarray, Affine]] = {}
    for rows, equality in ((equalities, True), (inequalities, False)):
        matrix, parametric, levels = rows.matrix, rows.is_parametric, _numbers(rows.offset)
        for k, level in enumerate(levels):
            if parametric[k]:
                columns, normal, scale = _parametric_normal(rows, k)
                linear = normal.linear
                key = (columns.tobytes(), _rounded(normal.constant), _rounded(linear.data))
                key = (*key, linear.indices.tobytes(), linear.indptr.tobytes())
            else:
                columns, values = _entries(matrix, k)
                scale = _leading(values)
                normal = Affine(values / scale, _nothing(len(values), rows.parameters))
                key = (columns.tobytes(), _rounded(values / scale))
            shapes.setdefault(key, (columns, normal))
            groups[key].append((_scaled(level, -1 / scale), equality, scale, rows.sources_of(k)))
    return [(shapes[key][0], _merge(shapes[key][1], members)) for key, members in groups.items()]


def _numbers(vector: Affine) -> list[Affine]:
    """Return the entries of a vector, one by one."""
    nothing, parametric = _nothing(1, vector.parameters), vector.is_parametric
    return [
        vector[np.array([k])].reshaped() if parametric[k] else Affine(np.asarray(number), nothing)
        for k, number in enumerate(vector.constant)
    ]


def _scaled(number: Affine, factor: float) -> Affine:
    return Affine(number.constant * factor, number.linear if number.is_constant else number.linear * factor)


@functools.cache
def _nothing(size: int, parameters: int) -> sp.csr_array:
    return sp.csr_array((size, parameters))


def _entries(matrix: sp.csr_array, row: int) -> tuple[np.ndarray, np.ndarray]:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    columns, values = matrix.indices[span].astype(np.int64), matrix.data[span]
    order = np.argsort(columns)
    return columns[order], values[order]


def _leading(values: np.ndarray) -> float:
    """Return the first value of largest size, up to rounding."""
    size = np.abs(values)
    return float(values[np.argmax(size >= size.max() * (1 - 1e-10))])


def _rounded(values: np.ndarray) -> bytes:
    return (np.round(values, _DIGITS) + 0.0).tobytes()  # + 0.0: no negative zero


def _parametric_normal(rows: AffineRows, row: int) -> tuple[np.ndarray, Affine, float]:
    """Return the entries, the normal scaled so that its largest coefficient is 1, and the scale."""
    normal = rows.coefficients(row)
    columns = np.unique(normal.index)
    normal = normal[columns].dense()
    normal.linear.sort_indices()
    values = np.concatenate([normal.constant, normal.linear.data])
    scale = _leading(values)
    return columns, normal.scaled(1 / scale), scale


def _merge(normal: Affine, members: list[tuple[Affine, bool, float, tuple[int, ...]]]) -> Row:
    """Merge ``scale * (normal @ y - level)`` that are zero (equality) or nonnegative."""
    below = _tightest([(level, sources) for level, equal, scale, sources in members if equal or scale > 0], max)
    above = _tightest([(level, sources) for level, equal, scale, sources in members if equal or scale < 0], min)
    low = largest([level for level, _ in below]) if below else None
    high = smallest([level for level, _ in above]) if above else None
    if low is not high and isinstance(low, Affine) and isinstance(high, Affine) and _equal(low, high):
        high = low
    return Row(normal, low, high, tuple(dict.fromkeys(source for _, sources in [*below, *above] for source in sources)))


def _tightest(
    bounds: list[tuple[Affine, tuple[int, ...]]], best: Callable[[Iterable[float]], float]
) -> list[tuple[Affine, tuple[int, ...]]]:
    """Return the bounds that count: the best number, and each one that depends on parameters, once."""
    numbers = [float(level.constant) for level, _ in bounds if level.is_constant]
    result: list[_Bound] = []
    for level, sources in bounds:
        counts = not level.is_constant or float(level.constant) == best(numbers)
        if counts and not any(_equal(level, other) for other, _ in result):
            result.append((level, sources))
    return result


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
        low = None if smallest_sum >= as_number(row.lower, -np.inf) else row.lower
        high = None if largest_sum <= as_number(row.upper, np.inf) else row.upper
        if low is not None or high is not None:
            result.append((columns, Row(row.normal, low, high, row.sources)))
    return result
