"""Rows that sum entries of a matrix along its rows and along its columns."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from optlayers.parametric.sparse import entries_of
from optlayers.recognition.block import Block, Row


@dataclass(frozen=True, eq=False)
class TransportRows:
    """Where the entries of a block stand in a matrix, and the block's rows that sum its rows and its columns.

    A row or column whose sum is not bounded has None. `entry`, ``(m, n)``, are the block's entries, and its size where
    there is none; `place` is where each entry stands, in C order.
    """

    rows: tuple[Row | None, ...]
    columns: tuple[Row | None, ...]
    entry: np.ndarray
    place: np.ndarray

    @property
    def is_full(self) -> bool:
        """Whether the entries are the matrix in C order."""
        return np.array_equal(self.place, np.arange(self.entry.size))


def find_transport_rows(block: Block) -> TransportRows | None:
    """Arrange the entries, or return None where the rows are not sums of rows and columns of any matrix.

    The rows have coefficients of one, each entry is in one or two of them, those with a common entry are of different
    sides, and no two entries are in the same two rows.
    """
    members = _members(block)
    if members is None:
        return None
    entry = np.concatenate(members)
    row = np.repeat(np.arange(len(members)), [len(m) for m in members])
    count = np.bincount(entry, minlength=block.size)
    if count.max() != 2 or count.min() < 1:
        return None
    side = _sides(row[np.argsort(entry, kind="stable")], count, len(members))
    if side is None:
        return None
    if _is_column(members, side, entry, row):
        side = 1 - side
    first = np.array([m[0] for m in members])
    lines = [np.flatnonzero(side == k)[np.argsort(first[side == k])] for k in (0, 1)]
    at = np.full((2, block.size), -1)
    for k in (0, 1):
        number = np.zeros(len(members), dtype=np.int64)
        number[lines[k]] = np.arange(len(lines[k]))
        on_side = side[row] == k
        at[k, entry[on_side]] = number[row[on_side]]
    m, n = (_place_others(at, k, len(lines[k])) for k in (0, 1))
    place = at[0] * n + at[1]
    if len(np.unique(place)) < len(place):
        return None
    entry_at = np.full(m * n, block.size)
    entry_at[place] = np.arange(block.size)
    rows, columns = (
        tuple(block.rows[r] for r in line) + (None,) * (count - len(line))
        for line, count in zip(lines, (m, n), strict=True)
    )
    return TransportRows(rows, columns, entry_at.reshape(m, n), place)


def _members(block: Block) -> list[np.ndarray] | None:
    """Return the entries of each row, ascending; None where a coefficient is not one."""
    used = entries_of(block.normals)
    if len(used.row) > 2 * block.size or used.is_parametric.any() or (used.constant != 1.0).any():
        return None
    return np.split(used.column, np.cumsum(used.per_row(len(block.rows)))[:-1])


def _sides(row: np.ndarray, count: np.ndarray, rows: int) -> np.ndarray | None:
    """Colour the rows with 0 and 1 so that an entry's two rows differ; None where that is impossible.

    In the double cover, which joins each row's colour to the other colour of its neighbours, the two colours of a row
    are connected just where a closed walk of odd length leads through it.
    """
    start = np.cumsum(count) - count
    both = start[count == 2]
    one, other = row[both], row[both + 1]
    edges = (np.concatenate([one, other]), np.concatenate([other, one]) + rows)
    graph = sp.coo_array((np.ones(len(edges[0])), edges), shape=(2 * rows, 2 * rows))
    label = connected_components(graph, directed=False)[1]
    if (label[:rows] == label[rows:]).any():
        return None
    return (label[:rows] != label[0]).astype(np.int64)


def _is_column(members: list[np.ndarray], side: np.ndarray, entry: np.ndarray, row: np.ndarray) -> bool:
    """Whether side 0 has the columns: its rows are those whose entries are not next to each other."""
    spread = [
        sum(int(m[-1] - m[0]) - len(m) for k, m in enumerate(members) if side[k] == one) / max(1, (side == one).sum())
        for one in (0, 1)
    ]
    return spread[0] > spread[1]


def _place_others(at: np.ndarray, side: int, lines: int) -> int:
    """Give entries without row on one side a place in additional ones; return how many there are then."""
    other = at[1 - side]
    missing = np.flatnonzero(at[side] < 0)
    order = missing[np.argsort(other[missing], kind="stable")]
    start = np.searchsorted(other[order], other[order])
    at[side, order] = lines + np.arange(len(order)) - start
    return lines + int((np.arange(len(order)) - start).max(initial=-1)) + 1
