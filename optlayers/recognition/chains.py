"""Chains: rows that bound the differences of neighbours along a path through all entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from optlayers.parametric.symbolic import Affine, Data, derived, gather, select
from optlayers.recognition.block import Block, Row


@dataclass(frozen=True, eq=False)
class Chain:
    """The rows ``lower[i] <= y[order[i + 1]] - y[order[i]] <= upper[i]``; of a path's two ends the first comes first.

    Attributes
    ----------
    order : ndarray of int, shape (n,)
    lower, upper : list of n - 1 numbers as data, or None where there is no such bound
        An equality has one object for both.
    rows : ndarray of int, shape (n - 1,)
        Which rows they are.
    """

    order: np.ndarray
    lower: list[Data | None]
    upper: list[Data | None]
    rows: np.ndarray

    @property
    def permutation(self) -> np.ndarray | None:
        """The order; None where it is the entries' own."""
        return None if np.array_equal(self.order, np.arange(len(self.order))) else self.order


def read_chain(rows: Sequence[Row], size: int) -> Chain | None:
    """Return the chain through entries ``0, ..., size - 1`` that the rows are, or None."""
    if len(rows) != size - 1 or not all(row.normal.is_constant for row in rows):
        return None
    ends = np.empty((len(rows), 2), dtype=np.int64)
    for k, row in enumerate(rows):
        entries = np.flatnonzero(row.normal.constant)
        if len(entries) != 2 or abs(row.normal.constant[entries[0]]) != 1 or row.normal.constant[entries].sum() != 0:
            return None
        ends[k] = entries if row.normal.constant[entries[1]] > 0 else entries[::-1]
    order, steps = path(ends, size)
    if order is None:
        return None
    forward = ends[steps, 1] == order[1:]
    chosen = [rows[k] for k in steps]
    bounds = [(r.lower, r.upper) if f else _negated_pair(r) for r, f in zip(chosen, forward, strict=True)]
    return Chain(order, [low for low, _ in bounds], [high for _, high in bounds], steps)


def path(ends: np.ndarray, size: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the entries along a path of edges, and the edges; None where they are not a path."""
    entries, edges = ends.ravel(), np.repeat(np.arange(len(ends)), 2)
    degree = np.bincount(entries, minlength=size)
    nothing = np.zeros(0, dtype=np.int64)
    if len(degree) != size or degree.max(initial=0) > 2 or (degree == 0).any() or (degree == 1).sum() != 2:
        return None, nothing
    by_entry = edges[np.argsort(entries, kind="stable")]
    first = np.cumsum(degree) - degree
    order, steps = [int(np.flatnonzero(degree == 1)[0])], []
    while len(order) < size:
        here = order[-1]
        own = by_entry[first[here] : first[here] + degree[here]]
        following = [int(k) for k in own if not steps or k != steps[-1]]
        if not following:
            return None, nothing  # a path and circles
        steps.append(following[0])
        order.append(int(ends[steps[-1]].sum()) - here)
    return np.array(order), np.array(steps)


def _negated_pair(row: Row) -> tuple[Data | None, Data | None]:
    low = negated(row.upper)
    return low, low if row.is_equality else negated(row.lower)


def negated(data: Data | None) -> Data | None:
    """Return minus the data."""
    if data is None:
        return None
    return data.scaled(-1.0) if isinstance(data, Affine) else derived(_negative, data)


def _negative(tensor: Tensor) -> Tensor:
    return -tensor


def in_order(data: Data | None, chain: Chain) -> Data | None:
    """Return a vector along the chain."""
    return data if data is None or chain.permutation is None else select(data, chain.order)


def order_field(chain: Chain, parameters: int) -> Affine | None:
    """Return the order as data of a set, or None where it is the entries' own."""
    return None if chain.permutation is None else Affine.of(chain.order.astype(np.float64), parameters)


def steps(bounds: Sequence[Data | None], absent: float, block: Block) -> Data | None:
    """Return the bounds on the steps as one vector, or None where no step is bounded."""
    return None if all(bound is None for bound in bounds) else gather(bounds, absent, block.parameters)


def is_uniform(data: Data) -> bool:
    """Whether all entries of a vector are one and the same function of the parameters."""
    if not isinstance(data, Affine):
        return all(is_uniform(argument) for argument in data.arguments)
    same = bool((data.constant == data.constant[0]).all())
    if not same or data.is_constant:
        return same
    repeated = data[np.zeros(len(data.constant), dtype=np.int64)]
    return (data.linear - repeated.linear).count_nonzero() == 0
