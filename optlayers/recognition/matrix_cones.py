"""What semidefinite cones say about a block whose entries are one matrix: bounds on its eigenvalues or singular values.

Entries are recognised up to an order of the matrix's rows and columns, and up to scale, but every coefficient counts.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from optlayers.cones.triangle import triangle
from optlayers.parametric.sparse import is_permutation, nonzeros, sparse_matrix
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block, BlockCone, Row

_TOLERANCE = 1e-12
_ROOT = np.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class EigenvalueBound:
    """The eigenvalues of ``(X + X') / 2 - center`` are at least, or at most, `level`; ``center[0, 0]`` is 0."""

    center: Affine
    level: Affine
    is_lower: bool


@dataclass(frozen=True, eq=False)
class Dilation:
    """``[[P, X - center], [(X - center)', Q]]`` is positive semidefinite, times `scale`.

    The cone's rows with the diagonals of `P` and `Q` are `diagonal`, those with their other entries `others`.
    """

    center: Affine
    diagonal: np.ndarray
    others: np.ndarray
    scale: float


def read_rows(block: Block) -> tuple[bool, Row | None] | None:
    """Return whether a square matrix is said to be symmetric, and the row on its trace; None for any other row."""
    n = round(block.size**0.5)
    pairs, traces, diagonal = set(), [], np.arange(n) * (n + 1)
    for row in block.rows:
        if not row.normal.is_constant:
            return None
        entries, values = nonzeros(row.normal)
        if np.array_equal(entries, diagonal) and np.allclose(values, 1.0, _TOLERANCE, 0):
            traces.append(row)
        elif len(entries) == 2 and row.is_homogeneous:
            transposed = entries[0] % n * n + entries[0] // n
            if abs(values.sum()) > _TOLERANCE or entries[1] != transposed:
                return None
            pairs.add(int(entries[0]))
        else:
            return None
    if len(traces) > 1 or len(pairs) not in (0, n * (n - 1) // 2):
        return None
    return bool(pairs), traces[0] if traces else None


def eigenvalue_bounds(cone: BlockCone, size: int, symmetric: bool) -> list[EigenvalueBound]:
    """Return what a cone says of a square matrix of `size` entries; empty where it says anything else."""
    level = _order_bound(cone, size)
    if level is not None:
        return [EigenvalueBound(*_split(level[0]), level[1])]
    norm = norm_bound(cone, size) if symmetric else None
    if norm is None:
        return []
    center, radius = norm
    if not is_symmetric(center):
        return []
    center, middle = _split(center)
    return [EigenvalueBound(center, middle - radius, True), EigenvalueBound(center, middle + radius, False)]


def _split(level: Affine) -> tuple[Affine, Affine]:
    """Return ``level - first * identity`` and `first`, the first entry."""
    n, _ = level.shape
    flat = level.reshaped(n * n)
    diagonal = np.arange(n) * (n + 1)
    identity = sp.csr_array((np.ones(n), (diagonal, np.zeros(n, dtype=np.int64))), shape=(n * n, n * n))
    return (flat - flat.mapped(identity)).reshaped(n, n), flat[np.array([0])].reshaped()


def _order_bound(cone: BlockCone, size: int) -> tuple[Affine, bool] | None:
    """Return `level` if a cone is ``+-((X + X') / 2 - level)``, and whether the sign is positive."""
    n = round(size**0.5)
    if cone.kind != "psd" or n * n != size or cone.offset.shape != (n * (n + 1) // 2,) or not cone.normals.is_constant:
        return None
    matrix, (one, other) = sparse_matrix(cone.normals), triangle(n)
    diagonal = matrix[np.flatnonzero(one == other)].indices
    order, rest = np.divmod(diagonal, n + 1)
    if rest.any() or not is_permutation(order, n):
        return None
    row, column = order[one], order[other]
    entries, index = np.append(row * n + column, column * n + row), np.tile(np.arange(len(one)), 2)
    values = np.tile(np.where(one == other, 0.5, _ROOT), 2)
    symmetric = sp.csr_array((values, (index, entries)), shape=(len(one), size))
    scale = matrix.data[0]
    if matrix.nnz != symmetric.nnz or abs(matrix - scale * symmetric).max() > _TOLERANCE * abs(scale):
        return None
    return cone.offset.mapped(symmetric.T / -scale).reshaped(n, n), bool(scale > 0)


def norm_bound(cone: BlockCone, size: int) -> tuple[Affine, Affine] | None:
    """Return `center` and `radius` if a cone says ``sigma_max(X - center) <= radius`` of a matrix of `size` entries."""
    dilated = dilation(cone, size)
    if dilated is None or cone.normals.shape[1] != size:
        return None
    diagonal, others = cone.offset[dilated.diagonal], cone.offset[dilated.others]
    radius = diagonal[:1]
    spread = diagonal - radius[np.zeros(len(dilated.diagonal), dtype=np.int64)]
    if not is_zero(spread, diagonal) or not others.is_zero:
        return None
    return dilated.center, radius.reshaped().scaled(1 / dilated.scale)


def trace_norm_bound(block: Block) -> tuple[Affine, Data] | None:
    """Return `center` and `radius` if a block says ``trace(P) + trace(Q) <= 2 radius`` of a dilation.

    The least such sum of traces is twice the sum of the singular values of ``X - center`` (Recht, Fazel and Parrilo,
    "Guaranteed minimum-rank solutions of linear matrix equations via nuclear norm minimization", 2010).
    """
    if len(block.cones) != 1 or not block.auxiliary:
        return None
    (cone,) = block.cones
    dilated = dilation(cone, block.size)
    if dilated is None:
        return None
    inside = np.append(dilated.diagonal, dilated.others)
    whole = sparse_matrix(cone.normals)
    matrix = whole[inside][:, block.size :]
    one_each = (np.diff(matrix.indptr) == 1).all() and is_permutation(matrix.indices, block.auxiliary)
    if not one_each or whole.nnz != block.size + len(inside) or not cone.offset[inside].is_zero:
        return None
    rows = [row for row in block.rows if not row.is_equality]
    if len(rows) != 1 or not rows[0].normal.is_constant or rows[0].lower is not None or rows[0].upper is None:
        return None
    index, weights = nonzeros(rows[0].normal)
    d = len(dilated.diagonal)
    order = np.argsort(matrix.indices[:d])
    if not np.array_equal(index, block.size + matrix.indices[:d][order]):
        return None
    ratio = weights / matrix.data[:d][order]
    if ratio[0] <= 0 or not np.allclose(ratio, ratio[0], _TOLERANCE, 0):
        return None
    return dilated.center, rows[0].upper.scaled(1 / (2 * ratio[0] * dilated.scale))


def dilation(cone: BlockCone, size: int) -> Dilation | None:
    """Return what a cone says if its rows off two diagonal blocks are ``X - center``, the `size` first entries."""
    if cone.kind != "psd" or not cone.normals.is_constant:
        return None
    order = round((2 * cone.offset.shape[0]) ** 0.5 - 0.5)
    one, other = triangle(order)
    matrix = sparse_matrix(cone.normals)[:, :size]
    rows = np.flatnonzero(np.diff(matrix.indptr))
    if len(rows) != size or not is_permutation(matrix.indices, size):
        return None
    is_below = np.zeros(order, dtype=bool)
    is_below[one[rows][other[rows] == other[rows[0]]]] = True
    n, m = order - int(is_below.sum()), int(is_below.sum())
    if n * m != size or is_below[other[rows]].any() or not is_below[one[rows]].all():
        return None
    grid = np.zeros((n, m), dtype=np.int64)
    grid[((~is_below).cumsum() - 1)[other[rows]], (is_below.cumsum() - 1)[one[rows]]] = matrix.indices
    shape = _shape(grid)
    scale = matrix.data[0]
    if shape is None or not np.allclose(matrix.data, scale, _TOLERANCE, 0):
        return None
    spread = sp.csr_array((np.full(size, -1 / scale), (matrix.indices, rows)), shape=(size, len(one)))
    inside = np.setdiff1d(np.arange(len(one)), rows)
    is_diagonal = one[inside] == other[inside]
    center = cone.offset.mapped(spread).reshaped(*shape)
    return Dilation(center, inside[is_diagonal], inside[~is_diagonal], abs(scale) * _ROOT)


def _shape(entries: np.ndarray) -> tuple[int, int] | None:
    """Return the shape in which entries are a matrix or its transpose, up to the order of its rows and columns."""
    for grid in (entries, entries.T):
        at_row, at_column = np.divmod(grid, grid.shape[1])
        if (at_row == at_row[:, :1]).all() and (at_column == at_column[:1]).all():
            return grid.shape
    return None


def is_symmetric(matrix: Affine) -> bool:
    """Whether a matrix is square and symmetric, whatever the parameters are."""
    n, m = matrix.shape
    flat = matrix.reshaped(n * m)
    return n == m and is_zero(flat - flat[np.arange(n * m).reshape(n, m).T.ravel()], flat)


def is_zero(data: Affine, *scale: Affine) -> bool:
    """Whether data vanish, up to rounding of what they are the difference of."""
    sizes = np.max([_sizes(part) for part in scale], axis=0)
    return bool((_sizes(data) <= 16 * np.finfo(float).eps * sizes).all())


def _sizes(data: Affine) -> np.ndarray:
    """Return the largest number, and the largest coefficient of a parameter."""
    return np.array([np.abs(part).max(initial=0.0) for part in (data.constant, data.linear.data)])
