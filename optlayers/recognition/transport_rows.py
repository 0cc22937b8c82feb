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
    used = entries_of(block.normals)
    if len(used.row) > 2 * block.size or used.is_parametric.any() or (used.constant != 1.0).any():
        return None
    row, entry, length = used.row, used.column, used.per_row(len(block.rows))
    count = np.bincount(entry, minlength=block.size)
    if count.max() != 2 or count.min() < 1:
        return None
    side = _sides(row[np.argsort(entry, kind="stable")], count, len(length))
    if side is None:
        return None
    end = np.cumsum(length)
    first, last = entry[end - length], entry[end - 1]
    spread = last - first - length  # the matrix's rows have entries next to each other
    if spread[side == 0].mean() > spread[side == 1].mean():
        side = 1 - side
    lines = [np.flatnonzero(side == k)[np.argsort(first[side == k])] for k in (0, 1)]
    number = np.zeros(len(length), dtype=np.int64)
    for line in lines:
        number[line] = np.arange(len(line))
    at = np.full((2, block.size), -1)
    at[side[row], entry] = number[row]
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


def _place_others(at: np.ndarray, side: int, lines: int) -> int:
    """Give entries without row on one side a place in additional ones; return how many there are then."""
    other = at[1 - side]
    missing = np.flatnonzero(at[side] < 0)
    order = missing[np.argsort(other[missing], kind="stable")]
    start = np.searchsorted(other[order], other[order])
    at[side, order] = lines + np.arange(len(order)) - start
    return lines + int((np.arange(len(order)) - start).max(initial=-1)) + 1
