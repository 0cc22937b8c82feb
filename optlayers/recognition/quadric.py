"""What one second-order cone ``||F y + g|| <= a @ y + b`` says: a quadratic inequality, in principal coordinates.

With ``S = F'F - a a'`` it is ``y' S y + ... <= 0``. One negative eigenvalue of `S` makes it a cone or one sheet of a
hyperboloid, with the head along that eigenvector; a difference ``k`` of the head and one row of the tail that is a
number makes it a paraboloid, ``||F y + g||^2 <= k (a @ y + b)``; what is left are ellipsoids (`quadratic.py`).
"""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from optlayers.parametric.symbolic import Affine, Data, derived
from optlayers.recognition.block import Block, BlockCone
from optlayers.recognition.implied_bounds import follow
from optlayers.recognition.principal_axes import align, principal_axes, solve_on_axes
from optlayers.recognition.quadratic import first_row, light_rows, size_of, vertex

_TOLERANCE = 1e-12
_MOST_AXES = 0.5  # of the entries; with more of them, coordinate axes are kept as they are


@dataclass(frozen=True, eq=False)
class Quadric:
    """The sets ``{y : sum_i weights_i z_i^2 <= ...}``, where `z` are principal coordinates of ``y - center``.

    Attributes
    ----------
    axes : ndarray, shape (r, n), or None
        Orthonormal. The coordinates are those along the axes, and the length of all that is orthogonal to them; None:
        they are the entries.
    weights : ndarray, shape (r + 1,) or (n,)
        -1 at the head of a cone, 0 at that of a paraboloid; all others nonnegative.
    head : ndarray, shape (r,) or (n,)
        A signed unit vector.
    center : data of shape (n,)
    excess : data of shape (), or None
        What a cone's sum of squares is below zero by: the square of a hyperboloid's half-axis.
    slope : float
        Of a paraboloid, ``... <= slope * head``.
    """

    axes: np.ndarray | None
    weights: np.ndarray
    head: np.ndarray
    center: Data
    excess: Data | None
    slope: float

    @property
    def is_circular(self) -> bool:
        """Whether it is a cone of one angle."""
        return self.excess is None and len(self.head) == 1 and self.weights[-1] > 0

    def fields(self, parameters: int) -> dict[str, Data | None]:
        """Return the fields that all such sets have."""
        axes = None if self.axes is None else Affine.of(self.axes, parameters)
        return {
            "axes": axes,
            "weights": Affine.of(self.weights, parameters),
            "head": Affine.of(self.head, parameters),
            "center": self.center,
        }


def match_cone(block: Block) -> Quadric | None:
    """Return the cone, or the sheet of a hyperboloid, that the block is; bounds that follow from it do not count."""
    cone = _only_cone(block)
    if cone is None or cone.matrix is None or light_rows(cone) is not None:
        return None
    top = first_row(cone.matrix)
    values, vectors, scale = principal_axes(cone.matrix[1:], top)
    (negative,) = np.nonzero(values < -_TOLERANCE * scale)
    if len(negative) != 1 or len(values) == 1:
        return None
    head = int(negative[0])
    values[np.abs(values) <= _TOLERANCE * scale] = 0.0
    if (vectors[[head]] @ top)[0] < 0:
        vectors = sp.csr_array(sp.diags_array(np.where(np.arange(len(values)) == head, -1.0, 1.0)) @ vectors)
    center, rest = vertex(cone.matrix, cone.offset, values, vectors)
    excess = derived(_excess, rest.scaled(1 / np.sqrt(-values[head]))) if size_of(rest).any() else None
    quadric = _in_coordinates(values / -values[head], vectors, head, center, excess, 0.0)
    return quadric if follow(block, center, functools.partial(_increases, quadric)) else None


def match_paraboloid(block: Block) -> Quadric | None:
    """Return the paraboloid that the block is, of weights at most 1; bounds that follow from it do not count."""
    cone = _only_cone(block)
    split = None if cone is None else light_rows(cone)
    if split is None:
        return None
    matrix, shift, normal, level = split
    values, vectors, _ = principal_axes(matrix, np.zeros(block.size))
    if not values.any():
        return None
    inside = solve_on_axes(values, vectors, normal)
    free = normal - matrix.T @ (matrix @ inside)
    free[np.abs(free) <= _TOLERANCE * np.abs(normal).max()] = 0.0
    length = float(np.linalg.norm(free))
    if length == 0:
        return None
    vectors, head = _with_axis(values, vectors, free / length)
    base = Affine.of(inside / 2, block.parameters) - shift.mapped(solve_on_axes(values, vectors, matrix.T))
    rest = base.mapped(matrix) + shift
    rest = rest[size_of(rest) > _TOLERANCE * (size_of(base.mapped(matrix)) + size_of(shift)).max()]
    drop = level.reshaped(1) + base.mapped(normal[None])
    base = base - drop.mapped(free[:, None] / length**2)
    center: Data = base
    if rest.constant.size:
        center = derived(_lifted, base, rest, Affine.of(free / length**2, block.parameters))
    largest = values.max()
    quadric = _in_coordinates(values / largest, vectors, head, center, None, length / largest)
    return quadric if follow(block, center, functools.partial(_increases, quadric)) else None


def is_rotated(block: Block) -> bool:
    """Whether the cone's head and one row of its tail are the sum and the difference of two entries."""
    cone = _only_cone(block)
    if cone is None or cone.matrix is None:
        return False
    touched = cone.matrix.indices[: cone.matrix.indptr[1]]
    if len(touched) != 2:
        return False
    head, *tail = cone.matrix[:, touched].toarray()
    corner = np.transpose(tail) @ tail - np.outer(head, head)
    return bool(np.abs(np.diag(corner)).max() <= _TOLERANCE * np.abs(corner).max())


def _only_cone(block: Block) -> BlockCone | None:
    """Return the only constraint besides bounds, as a second-order cone."""
    if block.rows or block.auxiliary or len(block.cones) != 1 or block.size < 2:
        return None
    (cone,) = block.cones
    if cone.kind == "pow" and cone.alpha == 0.5:
        rotation = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
        if not cone.normals.is_constant:
            return None
        normals = Affine.of(rotation @ cone.normals.constant, block.parameters)
        return dataclasses.replace(cone, kind="soc", normals=normals, offset=cone.offset.mapped(rotation))
    return cone if cone.kind == "soc" else None


def _with_axis(values: np.ndarray, vectors: sp.csr_array, axis: np.ndarray) -> tuple[sp.csr_array, int]:
    """Turn the eigenvectors of zero so that one of them is the given axis; return them and its number."""
    null = np.flatnonzero((values == 0) & (np.abs(vectors @ axis) > _TOLERANCE))
    basis = vectors[null].toarray()
    basis = align(basis, axis) if len(null) > 1 else basis
    basis[0] = axis
    spread = sp.csr_array((np.ones(len(null)), (null, np.arange(len(null)))), shape=(len(values), len(null)))
    keep = sp.diags_array(np.where(np.isin(np.arange(len(values)), null), 0.0, 1.0))
    return sp.csr_array(keep @ vectors + spread @ sp.csr_array(basis)), int(null[0])


def _in_coordinates(
    values: np.ndarray, vectors: sp.csr_array, head: int, center: Data, excess: Data | None, slope: float
) -> Quadric:
    """Keep as axes the eigenvectors that the most frequent weight is not of, the head first."""
    others = np.delete(np.arange(len(values)), head)
    order = others[np.argsort(values[others], kind="stable")]
    tol = _TOLERANCE * np.abs(values[order])
    run = np.concatenate([[0], np.cumsum(np.diff(values[order]) > tol[1:])])
    common = order[run == np.argmax(np.bincount(run))]
    if len(common) < (1 - _MOST_AXES) * len(values) and vectors.nnz == len(values):
        unit = np.asarray(vectors.sum(axis=0)).ravel()[head] * (np.arange(len(values)) == head)
        return Quadric(None, values, unit, center, excess, slope)
    chosen = np.array([head, *np.setdiff1d(others, common)])
    weights = np.append(values[chosen], values[common].mean())
    return Quadric(vectors[chosen].toarray(), weights, np.eye(1, len(chosen))[0], center, excess, slope)


def _increases(quadric: Quadric, entry: int, sign: float) -> bool:
    """Whether ``sign * y_entry`` is smallest at the center.

    On a cone, a linear function is where it is in the dual cone; on a paraboloid, where it is a multiple of the head.
    """
    if quadric.axes is None:
        along = sign * (np.arange(len(quadric.head)) == entry)
    else:
        inside = sign * quadric.axes[:, entry]
        along = np.append(inside, np.sqrt(max(0.0, 1 - inside @ inside)))
    head = np.append(quadric.head, np.zeros(len(along) - len(quadric.head)))
    top, rest, weights = float(head @ along), along[head == 0], quadric.weights[head == 0]
    curved = weights > 0 if quadric.slope == 0 else np.zeros(len(weights), dtype=bool)
    reach = np.linalg.norm(rest[curved] / np.sqrt(weights[curved]))
    return top > 0 and not (np.abs(rest[~curved]) > _TOLERANCE).any() and bool(reach <= top * (1 + _TOLERANCE))


def _excess(rest: Tensor) -> Tensor:
    """Return ``||tail||^2 - head^2``."""
    return (rest[..., 1:].square().sum(-1) - rest[..., 0].square()).clamp_min(0.0)


def _lifted(base: Tensor, rest: Tensor, direction: Tensor) -> Tensor:
    """Return the vertex above `base` by the part of the square that does not depend on the point."""
    return base + direction * rest.square().sum(-1, keepdim=True)
