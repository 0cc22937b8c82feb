"""Entries tied to each other by equations such as ``x_i == 2 x_j`` (symmetric matrices, shared values).

With ``y = T z`` and orthonormal columns of `T`, distances in `z` are distances in `y`: the projection onto the block is
`T` times the projection of ``T' v`` onto the same constraints on `z`.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from optlayers.parametric.sparse import nonzeros
from optlayers.parametric.symbolic import Affine, Data, as_number, largest, smallest
from optlayers.recognition.block import Block, Row
from optlayers.sets.base import Check, ClosedFormSet

_MOST_OTHERS = 50  # rows besides ties; no closed form is that of so many, but for affine sets


def untie(block: Block) -> tuple[Block, np.ndarray] | None:
    """Return the block on one entry per group of tied entries, and `T`; None where no entries are tied."""
    ties = [row for row in block.rows if _is_tie(row)]
    if not ties or block.auxiliary or len(block.rows) - len(ties) > _MOST_OTHERS:
        return None
    leader, ratio = np.arange(block.size), np.ones(block.size)
    for row in ties:
        (i, j), slopes = nonzeros(row.normal)
        a, b = slopes * ratio[[i, j]]
        one, other = leader[i], leader[j]
        if one == other:
            if abs(a + b) > 1e-12 * abs(a):
                return None  # the entries are zero: substitution is for others
            continue
        members = leader == other
        ratio[members] *= -a / b
        leader[members] = one
    leaders, group = np.unique(leader, return_inverse=True)
    matrix = np.zeros((block.size, len(leaders)))
    matrix[np.arange(block.size), group] = ratio
    matrix /= np.linalg.norm(matrix, axis=0)
    bounds = _group_bounds(block, matrix, group)
    if bounds is None:
        return None
    rows = []
    for row in (row for row in block.rows if not _is_tie(row)):
        normal = Affine(_product(row.normal.constant, matrix), row.normal.mapped(matrix.T).linear)
        holds = as_number(row.lower, -np.inf) <= 0 <= as_number(row.upper, np.inf)
        if not (normal.is_zero and holds):
            rows.append(dataclasses.replace(row, normal=normal))
    products = [None if c.matrix is None else _product(c.matrix, matrix) for c in block.cones]
    if any(row.normal.is_zero for row in rows) or any(p is None or not p.any() for p in products):
        return None  # what is left says nothing about entries, or no closed form takes it
    cones = [
        dataclasses.replace(c, normals=Affine.of(p, block.parameters))
        for c, p in zip(block.cones, products, strict=True)
        if p is not None
    ]
    reduced = dataclasses.replace(
        block,
        columns=block.columns[leaders],
        lower=bounds[0],
        upper=bounds[1],
        rows=tuple(rows),
        cones=tuple(cones),
        bounds=np.stack([group[block.bounds[0]], *block.bounds[1:]]),
    )
    return reduced, matrix


def _is_tie(row: Row) -> bool:
    return row.is_homogeneous and row.normal.is_constant and len(nonzeros(row.normal)[0]) == 2


def tie_sources(block: Block) -> set[int]:
    """Return the user's constraints that tie entries."""
    return set().union(*(row.sources for row in block.rows if _is_tie(row)))


def _product(one: np.ndarray | sp.csr_array, matrix: np.ndarray) -> np.ndarray:
    """Multiply, and remove what cancels to rounding."""
    result = np.asarray(one @ matrix)
    result[np.abs(result) <= 1e-13 * (abs(one) @ np.abs(matrix))] = 0
    return result


def _group_bounds(block: Block, matrix: np.ndarray, group: np.ndarray) -> tuple[Data | None, Data | None] | None:
    """Return the bounds on `z`; None where a bounded entry is a negative multiple of its leader."""
    if not block.has_bounds:
        return None, None
    scale = matrix[np.arange(block.size), group]
    if (scale < 0).any():
        return None
    members = [np.flatnonzero(group == g) for g in range(matrix.shape[1])]
    ranks = [np.array([m[min(k, len(m) - 1)] for m in members]) for k in range(max(map(len, members)))]
    lower = None if block.lower is None else largest([block.lower[t].scaled(1 / scale[t]) for t in ranks])
    upper = None if block.upper is None else smallest([block.upper[t].scaled(1 / scale[t]) for t in ranks])
    return lower, upper


@dataclass(frozen=True, eq=False)
class Tied:
    """The image under an isometry `matrix`, ``(n, k)``, of a closed-form set."""

    inner: ClosedFormSet
    matrix: Tensor

    def project(self, v: Tensor) -> Tensor:
        """Return ``T P(T' v)``."""
        return self.inner.project(v @ self.matrix) @ self.matrix.mT

    def checks(self) -> list[Check]:
        """Return the checks of the set before the isometry."""
        return self.inner.checks()

    def relaxed(self) -> "Tied":
        """Return the image of the relaxed set."""
        return Tied(self.inner.relaxed(), self.matrix)
