"""Chains: rows that bound the differences of neighbours along a path through all entries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optlayers.parametric.sparse import entries_of, stack_rows
from optlayers.parametric.symbolic import Affine, Data, gather
from optlayers.recognition.block import Row


@dataclass(frozen=True, eq=False)
class Chain:
    """The rows ``lower[i] <= y[order[i + 1]] - y[order[i]] <= upper[i]``; of a path's two ends the first comes first.

    A bound is None where no step has it, and infinite where that step has none; `rows` are the numbers of the rows.
    A chain rises where all its steps have lower bounds and none an upper one, and falls the other way round.
    """

    order: np.ndarray
    lower: Data | None
    upper: Data | None
    rises: bool
    falls: bool
    rows: np.ndarray


def read_chain(rows: Sequence[Row], size: int) -> Chain | None:
    """Return the chain through entries ``0, ..., size - 1`` that the rows are, or None."""
    if len(rows) != size - 1 or not rows:
        return None
    used = entries_of(stack_rows([row.normal for row in rows], size, rows[0].normal.parameters))
    if used.is_parametric.any() or (used.per_row(len(rows)) != 2).any():
        return None
    pairs, slopes = used.column.reshape(-1, 2), used.constant.reshape(-1, 2)
    if (np.abs(slopes[:, 0]) != 1).any() or slopes.sum(axis=1).any():
        return None
    ends = np.where(slopes[:, 1:] > 0, pairs, pairs[:, ::-1])
    order, steps = path(ends, size)
    if order is None:
        return None
    sign = np.where(ends[steps, 1] == order[1:], 1, -1)
    low, high = ([rows[k].bound(side * s) for k, s in zip(steps, sign, strict=True)] for side in (1, -1))
    lower, upper = _along(low, sign, -np.inf), _along(high, sign, np.inf)
    return Chain(order, lower, upper, None not in low and upper is None, None not in high and lower is None, steps)


def _along(bounds: Sequence[Data | None], sign: np.ndarray, absent: float) -> Data | None:
    """Return bounds as one vector, each times its sign; None where there is none at all."""
    given = [bound for bound in bounds if bound is not None]
    if not given:
        return None
    factors = np.where([bound is None for bound in bounds], 1, sign)
    return gather(bounds, absent, given[0].parameters).scaled(factors)


def path(ends: np.ndarray, size: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the entries along a path of edges, and the edges; None where they are not a path."""
    entries, edges = ends.ravel(), np.repeat(np.arange(len(ends)), 2)
    degree = np.bincount(entries, minlength=size)
    nothing = np.zeros(0, dtype=np.int64)
    if len(degree) != size or degree.max(initial=0) > 2 or (degree == 0).any() or (degree == 1).sum() != 2:
        return None, nothing
    by_entry = edges[np.argsort(entries, kind="stable")]
    last = np.cumsum(degree) - 1
    one, other, total = by_entry[last - degree + 1].tolist(), by_entry[last].tolist(), ends.sum(axis=1).tolist()
    order, steps = [int(np.flatnonzero(degree == 1)[0])], [-1]
    while len(order) < size:
        here = order[-1]
        following = one[here] if one[here] != steps[-1] else other[here]
        if following == steps[-1]:
            return None, nothing  # a path and circles
        steps.append(following)
        order.append(total[following] - here)
    return np.array(order), np.array(steps[1:], dtype=np.int64)


def in_order(data: Data | None, chain: Chain) -> Data | None:
    """Return a vector along the chain."""
    return data if data is None or order_field(chain.order, 0) is None else data[chain.order]


def order_field(order: np.ndarray, parameters: int) -> Affine | None:
    """Return an order as data of a set, or None where it is the entries' own."""
    return None if np.array_equal(order, np.arange(len(order))) else Affine.of(order.astype(np.float64), parameters)
