"""Blocks that say ``y = center + P w`` with a doubly stochastic matrix of auxiliary entries: permutahedra."""

from dataclasses import dataclass

import numpy as np

from optlayers.parametric.sparse import entries_of, is_permutation, nonzeros
from optlayers.parametric.symbolic import Affine, as_number
from optlayers.recognition.bends import add
from optlayers.recognition.block import Block, Row


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
    lower = block.lower
    start = np.where(np.arange(n + n * n) < n, -np.inf, 0.0)
    if lower is None or lower.numbers is None or not np.array_equal(lower.numbers, start):
        return None
    if not all(row.is_equality and isinstance(row.lower, Affine) for row in block.rows):
        return None
    entries, used = entries_of(block.normals), np.zeros(block.normals.shape, dtype=bool)
    used[entries.row, entries.column] = True
    is_link = used[:, :n].any(1)
    links = [block.rows[k] for k in np.flatnonzero(is_link)]
    sums = [block.rows[k] for k in np.flatnonzero(~is_link)]
    if not is_permutation(used[is_link, :n].argmax(1), n):
        return None
    if (used[is_link, :n].sum(1) != 1).any() or not all(_is_sum(row, n) for row in sums):
        return None
    at = _places(used[~is_link, n:], used[is_link, n:], n)
    return None if at is None else _read_links(links, used[is_link, :n].argmax(1), at, n)


def _is_sum(row: Row, n: int) -> bool:
    """Whether it says that some auxiliary entries have the sum one."""
    if not row.normal.is_constant:
        return False
    weights, total = nonzeros(row.normal)[1], as_number(row.lower, np.nan)
    return len(weights) == n and bool((weights == weights[0]).all() and abs(total / weights[0] - 1) <= 1e-12)


def _places(sums: np.ndarray, links: np.ndarray, n: int) -> np.ndarray | None:
    """Return, for each link and each column of `P`, the auxiliary entry that stands there."""
    meets = (sums.astype(np.int64) @ sums.T.astype(np.int64) > 0) & ~np.eye(2 * n, dtype=bool)
    one = ~meets[0]
    if one.sum() != n or (sums.sum(0) != 2).any() or not np.array_equal(meets, one[:, None] != one[None]):
        return None
    for family in (one, ~one):
        rows, columns = sums[family].argmax(0), sums[~family].argmax(0)
        row = [np.unique(rows[link]) for link in links]
        if all(len(rows_met) == 1 for rows_met in row) and len(np.unique(np.concatenate(row))) == n:
            at = np.full((n, n), -1)
            at[rows, columns] = np.arange(n * n)
            return at[np.concatenate(row)] if (at >= 0).all() else None
    return None


def _read_links(links: list[Row], entry: np.ndarray, at: np.ndarray, n: int) -> Mixture | None:
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
