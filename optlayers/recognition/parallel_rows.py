"""Rows on several entries, compared by what they mean: parallel ones become one row with two bounds.

Scalings and duplicates disappear with that; numeric bounds that follow from bounds on the entries are dropped.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.parametric.range import Range
from optlayers.parametric.sparse import SparseAffine
from optlayers.parametric.symbolic import Affine, as_number, largest, smallest
from optlayers.recognition.block import Row

_Bound = tuple[Affine, tuple[int, ...]]  # a level, and the constraints that it comes from
_DIGITS = 11  # normalised coefficients that agree to this many digits belong to parallel rows


def merge_parallel(equalities: AffineRows, inequalities: AffineRows) -> list[tuple[np.ndarray, Row]]:
    """Return the rows, each scaled so that its largest coefficient is 1, parallel ones merged."""
    groups: dict[object, list[tuple[Affine, bool, float, tuple[int, ...]]]] = defaultdict(list)
    shapes: dict[object, tuple[np.ndarray, Affine]] = {}
    for rows, equality in ((equalities, True), (inequalities, False)):
        width, parametric = rows.parameters + 1, rows.is_parametric.tolist()
        matrix = sp.csr_array(rows.data[:, : rows.n * width])
        matrix.sort_indices()
        starts, index = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
        scales = _leading(matrix.data, starts)
        values = matrix.data / np.repeat(scales, np.diff(starts))
        rounded = np.round(values, _DIGITS) + 0.0  # + 0.0: no negative zero
        levels = _numbers(rows.offset.scaled(-1 / scales))
        for k, span in enumerate(map(slice, starts[:-1].tolist(), starts[1:].tolist())):
            key = index[span].tobytes(), rounded[span].tobytes()
            if key not in shapes:
                entry, parameter = np.divmod(index[span], width)
                shapes[key] = _normal(entry, parameter, values[span], rows.parameters, parametric[k])
            groups[key].append((levels[k], equality, scales[k].item(), rows.sources_of(k)))
    return [(shapes[key][0], _merge(shapes[key][1], members)) for key, members in groups.items()]


def _normal(
    entry: np.ndarray, parameter: np.ndarray, value: np.ndarray, parameters: int, is_parametric: bool
) -> tuple[np.ndarray, Affine]:
    """Return the entries of a row, each once, and their coefficients."""
    if not is_parametric:
        return entry, Affine(value, _nothing(len(value), parameters))
    columns = np.unique(entry)
    position = np.searchsorted(columns, entry)
    return columns, SparseAffine((len(columns),), parameters, position, parameter, value).dense()


def _numbers(vector: Affine) -> list[Affine]:
    """Return the entries of a vector, one by one."""
    nothing, parametric = _nothing(1, vector.parameters), vector.is_parametric
    return [
        vector[np.array([k])].reshaped() if parametric[k] else Affine(np.asarray(number), nothing)
        for k, number in enumerate(vector.constant)
    ]


@functools.cache
def _nothing(size: int, parameters: int) -> sp.csr_array:
    return sp.csr_array((size, parameters))


def _leading(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return each row's first value of largest size, up to rounding."""
    if len(starts) == 1:
        return np.zeros(0)
    size = np.abs(values)
    largest = np.repeat(np.maximum.reduceat(size, starts[:-1]), np.diff(starts))
    (candidates,) = np.nonzero(size >= largest * (1 - 1e-10))
    return values[candidates[np.searchsorted(candidates, starts[:-1])]]


def _merge(normal: Affine, members: list[tuple[Affine, bool, float, tuple[int, ...]]]) -> Row:
    """Merge ``scale * (normal @ y - level)`` that are zero (equality) or nonnegative."""
    below = _tightest([(level, sources) for level, equal, scale, sources in members if equal or scale > 0], max)
    above = _tightest([(level, sources) for level, equal, scale, sources in members if equal or scale < 0], min)
    low = largest([level for level, _ in below]) if below else None
    high = smallest([level for level, _ in above]) if above else None
    is_fixed = isinstance(low, Affine) and isinstance(high, Affine) and _equal(low, high)
    sources = (tuple({s: None for _, sources in side for s in sources}) for side in (below, above))
    return Row(normal, Range(low, low if is_fixed else high, is_fixed), *sources)


def _tightest(bounds: list[_Bound], best: Callable[[Iterable[float]], float]) -> list[_Bound]:
    """Return the bounds that count: the best number, and each one that depends on parameters, once."""
    numbers = [float(level.constant) for level, _ in bounds if level.is_constant]
    result: list[_Bound] = []
    for level, sources in bounds:
        counts = not level.is_constant or float(level.constant) == best(numbers)
        if counts and not any(_equal(level, other) for other, _ in result):
            result.append((level, sources))
    return result


def _equal(one: Affine, other: Affine) -> bool:
    close = math.isclose(one.constant, other.constant, rel_tol=1e-13)
    same = one.is_constant and other.is_constant
    return close and (same or (one.linear - other.linear).count_nonzero() == 0)


def without_implied(
    rows: list[tuple[np.ndarray, Row]], lower: np.ndarray, upper: np.ndarray
) -> list[tuple[np.ndarray, Row]]:
    """Drop the numeric bounds of rows that follow from numeric bounds on the entries (by interval arithmetic)."""
    is_bounded = np.isfinite(lower) | np.isfinite(upper)
    if not is_bounded.any():
        return rows
    result = []
    for columns, row in rows:
        if row.is_equality or not row.normal.is_constant or not is_bounded[columns].all():
            result.append((columns, row))
            continue
        ends = row.normal.constant * np.stack([lower[columns], upper[columns]])
        low = None if ends.min(0).sum() >= as_number(row.lower, -np.inf) else row.lower
        high = None if ends.max(0).sum() <= as_number(row.upper, np.inf) else row.upper
        if low is not None or high is not None:
            below, above = (() if low is None else row.below), (() if high is None else row.above)
            result.append((columns, Row(row.normal, Range(low, high), below, above)))
    return result
