"""What second-order cones with a constant head say: ``||F y + g|| <= h``, as an ellipsoid with centre and radius."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.parametric.symbolic import Affine, Data, derived, smallest
from optlayers.recognition.block import Block, BlockCone
from optlayers.recognition.principal_axes import principal_axes, solve_on_axes

_TOLERANCE = 1e-12
_REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class NormBound:
    """The set ``{y : sum_i weights_i (axes_i @ (y - center))^2 <= radius^2}``, the largest weight being 1.

    `axes` is None for the coordinate axes; a weight may be zero (the set is a cylinder).
    """

    weights: np.ndarray
    axes: np.ndarray | None
    center: Affine
    radius: Data

    @property
    def is_isotropic(self) -> bool:
        return bool(np.all(self.weights == 1.0))


def match_norm(block: Block) -> NormBound | None:
    """Return what the block says if it is one bound on a quadratic, or several concentric ones of one shape."""
    if block.rows or block.has_bounds or block.auxiliary or not block.cones:
        return None
    norms = [_norm_bound(cone) for cone in block.cones]
    first = norms[0]
    if first is None:
        return None
    radii = [first.radius]
    for norm in norms[1:]:
        if norm is None or not _concentric(first, norm):
            return None
        radii.append(norm.radius)
    return NormBound(first.weights, first.axes, first.center, smallest(radii))


def match_ball(block: Block) -> NormBound | None:
    """Return what the block says if it is a ball."""
    norm = match_norm(block)
    return norm if norm is not None and norm.is_isotropic else None


def _concentric(one: NormBound, other: NormBound) -> bool:
    gap = one.center - other.center
    same_axes = one.axes is other.axes or (
        one.axes is not None and other.axes is not None and np.allclose(one.axes, other.axes, rtol=0, atol=_TOLERANCE)
    )
    same_weights = np.allclose(one.weights, other.weights, rtol=_TOLERANCE, atol=0)
    return gap.is_zero and same_axes and same_weights


def _norm_bound(cone: BlockCone) -> NormBound | None:
    """Complete the square of ``||F y + g|| <= a @ y + b``, a paraboloid or with ``S = F'F - a a'`` positive definite.

    With ``S c = b a - F'g``, what the head and the tail are at the centre is orthogonal to all directions, so that
    ``(y - c)' S (y - c) <= head^2 - ||tail||^2``. Without `a`, `S` may be singular.
    """
    matrix: Any = cone.matrix
    if cone.kind != "soc" or matrix is None:
        return None
    paraboloid = _paraboloid(cone)
    if paraboloid is not None:
        return paraboloid
    weights, vectors, _ = principal_axes(matrix[1:], first_row(matrix))
    largest = weights.max()
    if largest <= 0 or (matrix.indptr[1] > 0 and weights.min() <= _TOLERANCE * largest):
        return None
    center, rest = vertex(matrix, cone.offset, weights, vectors)
    axes = _equalised(weights, vectors)
    rest = rest.scaled(largest**-0.5)
    head, tail = rest[:1].reshaped(), rest[1:][size_of(rest[1:]) > 0]
    if len(tail.constant) == 0:
        radius: Data = head
    elif len(tail.constant) == 1:
        radius = derived(_root_of_product, head - tail.reshaped(), head + tail.reshaped())
    else:
        radius = derived(leg, head, tail)
    return NormBound(weights / largest, axes, center, radius)


def vertex(matrix: Any, offset: Affine, weights: np.ndarray, vectors: sp.csr_array) -> tuple[Affine, Affine]:
    """Return where ``S c = b a - F'g``, refined, and what the cone's rows are there, zero where that is rounding."""
    solve = solve_on_axes(weights, vectors, sp.vstack([matrix[:1], -matrix[1:]]).T)
    center = offset.mapped(solve)
    for _ in range(_REFINEMENTS):
        center = center + (center.mapped(matrix) + offset).mapped(solve)
    rest = center.mapped(matrix) + offset
    size = np.asarray(abs(matrix).sum(axis=1)).ravel() * size_of(center).max() + size_of(offset)
    return center, rest.scaled((size_of(rest) > _TOLERANCE * size).astype(float))


def _paraboloid(cone: BlockCone) -> NormBound | None:
    """Complete the square of ``||F y + g||^2 <= a @ y + b``, with numbers `g`.

    With ``F'F c = a / 2 - F'g`` it is ``||F (y - c)||^2 <= b + ||F c||^2 - ||g||^2``.
    """
    rows = light_rows(cone)
    if rows is None or not rows[1].is_constant:
        return None
    body, shift, normal, level = rows
    weights, vectors, _ = principal_axes(body, np.zeros(len(normal)))
    right = normal / 2 - body.T @ shift.constant
    unseen = vectors[np.flatnonzero(weights == 0)] @ right
    if not weights.any() or np.linalg.norm(unseen) > _TOLERANCE * np.linalg.norm(right):
        return None  # unbounded along a direction that the norm does not see
    center = solve_on_axes(weights, vectors, right)
    axes = _equalised(weights, vectors)
    number = right @ center - np.sum(shift.constant**2)
    square = (level + Affine.of(number, level.parameters)).scaled(1 / weights.max())
    return NormBound(weights / weights.max(), axes, Affine.of(center, level.parameters), derived(_root, square))


def light_rows(cone: BlockCone) -> tuple[sp.csr_array, Affine, np.ndarray, Affine] | None:
    """Write the cone as ``||F y + g||^2 <= a @ y + b`` and return F, g, a, b; None where it is not of that form.

    The head and one row of the tail, up to its sign, differ by a number `k`; `a` and `b` are `k` times their sum's.
    """
    matrix: Any = cone.matrix
    if matrix is None or matrix.indptr[1] == 0:
        return None
    count, size = np.diff(matrix.indptr), matrix.indptr[1]
    entries, head = matrix.indices[:size], matrix.data[:size]
    alike = np.flatnonzero(count[1:] == size) + 1
    span = matrix.indptr[alike][:, None] + np.arange(size)
    signs = np.sign(matrix.data[span[:, 0]] * head[0])
    same = ((matrix.indices[span] == entries) & (matrix.data[span] == signs[:, None] * head)).all(axis=1)
    for j, sign in zip(alike[same], signs[same], strict=True):
        other = cone.offset[np.array([j])].scaled(sign)
        gap = cone.offset[:1] - other
        if gap.is_constant and gap.constant[0] > 0:
            k, others = float(gap.constant[0]), np.setdiff1d(np.arange(1, len(count)), [j])
            level = (cone.offset[:1] + other).scaled(k).reshaped()
            return matrix[others], cone.offset[others], 2 * k * first_row(matrix), level
    return None


def first_row(matrix: sp.csr_array) -> np.ndarray:
    """Return the first row of a matrix, with zeros."""
    return matrix[:1].toarray()[0]


def size_of(data: Affine) -> np.ndarray:
    """Return the sizes of the numbers and the coefficients of parameters of each entry, added."""
    return np.abs(data.constant) + np.asarray(abs(data.linear).sum(axis=1)).ravel()


def _equalised(weights: np.ndarray, vectors: sp.csr_array) -> np.ndarray | None:
    """Return the axes, None for those of the coordinates; weights that are equal up to rounding become so."""
    if np.ptp(weights) <= _TOLERANCE * weights.max():
        weights[:] = weights.max()
        return None
    return None if vectors.nnz == len(weights) else vectors.toarray()


def _root(square: Tensor) -> Tensor:
    """Return the root, or the square itself where that is negative: the radius of an empty ball."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), square)


def _root_of_product(low: Tensor, high: Tensor) -> Tensor:
    """Return ``sqrt(low * high)``, or the smaller one where it is negative: the radius of an empty ball."""
    smaller = torch.minimum(low, high)
    positive = smaller > 0
    root = torch.where(positive, low, 1.0).sqrt() * torch.where(positive, high, 1.0).sqrt()
    return torch.where(positive, root, smaller)


def leg(hypotenuse: Tensor, others: Tensor) -> Tensor:
    """Return ``sqrt(hypotenuse^2 - ||others||^2)``, negative where there is no such length."""
    positive = hypotenuse > 0
    unit = torch.where(positive, hypotenuse, 1.0)
    square = 1 - (others / unit.unsqueeze(-1)).square().sum(-1)
    return torch.where(positive, unit * _root(square), hypotenuse - safe_norm(others))


def safe_norm(x: Tensor) -> Tensor:
    """Return the Euclidean norm over the last dimension: no overflow, and derivative zero at zero."""
    return unit_and_norm(x)[1]


def unit_and_norm(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors in units of their Euclidean norm, and the norm, without over- or underflow of either derivative.

    Both are zero for zeros, and for numbers so small that their reciprocals overflow.
    """
    if x.shape[-1] == 0:
        return x, x.sum(-1)
    largest = x.detach().abs().amax(-1, keepdim=True)
    null = largest < torch.finfo(x.dtype).tiny
    scaled = torch.where(null, 0.0, x / torch.where(null, 1.0, largest))
    length = torch.where(null, 1.0, scaled.square().sum(-1, keepdim=True)).sqrt()
    return scaled / length, torch.where(null, 0.0, largest * length).squeeze(-1)
