"""Blocks that say ``y = center + P w`` with a doubly stochastic matrix of auxiliary entries: permutahedra."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from optlayers.parametric.sparse import entries_of, is_permutation
from optlayers.parametric.symbolic import Affine, as_number
from optlayers.recognition.bends import add, read_floor
from optlayers.recognition.block import Block, Row
from optlayers.recognition.transport_rows import find_transport_rows


@dataclass(frozen=True, eq=False)
class Mixture:
    """``{center + P @ weights : P doubly stochastic}``."""

    center: Affine
    weights: Affine


def read_mixture(block: Block) -> Mixture | None:
    """Read one row ``y_i - P_i @ w == center_i`` for each entry, and sums that are one of rows and columns of `P`."""
    n = block.size
    if block.auxiliary != n * n or len(block.rows) != 3 * n or block.upper is not None or n < 2:
        return None
    floor = read_floor(block)
    if floor is None or not floor.is_zero:
        return None
    if not all(row.is_equality and isinstance(row.lower, Affine) for row in block.rows):
        return None
    used = entries_of(block.normals)
    visible = used.column < n
    entry, is_link = used.column[visible], np.bincount(used.row[visible], minlength=3 * n) == 1
    links = [block.rows[k] for k in np.flatnonzero(is_link)]
    sums = [block.rows[k] for k in np.flatnonzero(~is_link)]
    if len(links) != n or not is_permutation(entry, n):
        return None
    if not all(abs(as_number(row.lower, np.nan) - 1) <= 1e-12 for row in sums):
        return None
    rows = tuple(dataclasses.replace(row, normal=row.normal[n:]) for row in sums)
    matrix = find_transport_rows(dataclasses.replace(block, columns=np.arange(n * n), auxiliary=0, rows=rows))
    if matrix is None or matrix.entry.shape != (n, n):
        return None
    linked = ~visible & is_link[used.row]
    for grid in (matrix.entry, matrix.entry.T):  # the entries of each link are one of its rows
        line = np.argsort(grid, axis=None) // n
        pairs = np.unique([used.row[linked], line[used.column[linked] - n]], axis=1)
        if np.array_equal(pairs[0], np.flatnonzero(is_link)) and is_permutation(pairs[1], n):
            return _read_links(links, entry, grid[pairs[1]], n)
    return None


def _read_links(links: list[Row], entry: np.ndarray, at: np.ndarray, n: int) -> Mixture | None:
    """Read the rows of the entries, given which auxiliary entries stand in each one's row of `P`."""
    centers, weights = [], []
    for row, column, columns in zip(links, entry, at, strict=True):
        lead = row.normal[np.array([column])]
        if not lead.is_constant or not isinstance(row.lower, Affine):
            return None
        factor = 1 / float(lead.constant[0])
        weights.append(row.normal[n + columns].scaled(-factor))
        centers.append(row.lower.scaled(factor))
    if not all(add(other, weights[0].scaled(-1.0)).is_zero for other in weights):
        return None
    return Mixture(Affine.stack(centers)[np.argsort(entry)], weights[0])
