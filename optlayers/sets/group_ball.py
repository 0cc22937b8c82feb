"""Balls of sums of Euclidean norms of groups of entries: L1,2 balls, group lasso."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.parametric.range import Range
from optlayers.parametric.sparse import is_permutation
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.bends import add, read_bends, read_floor
from optlayers.recognition.block import Block, BlockCone, Fields
from optlayers.recognition.epigraphs import read_budget, read_cuts
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.box_section import BoxSection

_TOLERANCE = 1e-12


@register
@dataclass(frozen=True, eq=False)
class GroupBall(ClosedFormSet):
    """``{y : sum_g weights_g * ||(y - center)_g||_2 <= radius}``, with groups that share no entry.

    Each group moves towards its centre along a line; the norms of the groups are projected onto a simplex (Schmidt,
    van den Berg, Friedlander and Murphy, "Optimizing costly functions with simple constraints", 2009).

    Attributes
    ----------
    center : Tensor, shape (*batch, n), or None
        None for zero.
    groups : Tensor, shape (*batch, n), or None
        The number of each entry's group; None for consecutive groups of one size.
    weights : Tensor, shape (*batch, g)
        Not negative.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "group ball"
    center: Tensor | None
    groups: Tensor | None
    weights: Tensor
    radius: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, radius: Any, groups: Any, center: Any = 0.0, weights: Any = None
    ) -> list[cp.Constraint]:
        offset, groups = cp.vec(x - center, order="C"), np.ravel(groups)
        norms = [cp.norm(offset[np.flatnonzero(groups == g)], 2) for g in np.unique(groups)]
        return [cp.sum(cp.hstack(norms) if weights is None else cp.multiply(weights, cp.hstack(norms))) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        budget = read_budget(block) if block.cones and len(block.cones) <= block.auxiliary else None
        if budget is None or not budget.slopes.is_zero:
            return None
        cuts = read_cuts(block, budget.others)
        bends = None if cuts is None else read_bends(block, cuts)
        norms = [_read_norm(block, cone) for cone in block.cones]
        if bends is None or not bends.shift.is_zero or not np.array_equal(bends.above, bends.below):
            return None
        known, floor = [norm for norm in norms if norm is not None], read_floor(block)
        sizes = [len(norm.entries) for norm in known]
        owner = np.concatenate([bends.members, *(np.full(1, norm.member) for norm in known)])
        entries = np.concatenate([bends.entry, *(norm.entries for norm in known)])
        if not is_permutation(owner, block.auxiliary) or not is_permutation(entries, block.size):
            return None
        if len(known) < len(norms) or floor is None:
            return None
        below = floor[owner[len(bends.members) :]]
        if (below.constant > 0).any() or not below.is_constant:
            return None
        order = np.argsort(entries)
        group = np.concatenate([bends.members, np.repeat(owner[len(bends.members) :], sizes)])[order]
        first = np.unique(group, return_index=True)[1]
        rank = np.argsort(np.argsort(first))  # groups are numbered by their first entry
        scales = sp.csr_array((np.concatenate([bends.above, [norm.scale for norm in known]]), (rank[owner], owner)))
        centers = [bends.center, *(norm.center for norm in known)]
        linear = sp.csr_array(sp.vstack([center.linear for center in centers]))
        center = Affine(np.concatenate([center.constant for center in centers]), linear)[order]
        number = rank[group]
        regular = np.array_equal(number, np.repeat(np.arange(len(owner)), block.size // len(owner)))
        return {
            "center": None if center.is_zero else center,
            "groups": None if regular else Affine.of(number, block.parameters),
            "weights": budget.weights.mapped(scales),
            "radius": budget.level,
        }

    def project(self, v: Tensor) -> Tensor:
        """Project the norms of the groups; a group at its centre has derivative zero.

        On the sphere the derivative is that of an outside point.
        """
        offset = v if self.center is None else v - self.center
        norms = self._norms(offset)
        cost = (self.weights * norms).sum(-1)
        outside = cost >= self.radius
        total = torch.where(outside, self.radius.clamp_min(0.0), cost)
        lower = norms.new_zeros(norms.shape[-1])
        shrunk = BoxSection(self.weights, lower, None, Range.fixed(total)).project(norms)
        positive = norms > 0
        factor = torch.where(positive, shrunk / torch.where(positive, norms, 1.0), (self.weights <= 0).to(v.dtype))
        y = self._spread(offset, factor)
        return torch.where(outside.unsqueeze(-1), y if self.center is None else y + self.center, v)

    def _norms(self, offset: Tensor) -> Tensor:
        """Return the norm of each group, with derivative zero at zero."""
        largest = offset.detach().abs().amax(-1, keepdim=True)
        largest = torch.where(largest >= torch.finfo(offset.dtype).tiny, largest, 1.0)
        square = (offset / largest).square()
        count = self.weights.shape[-1]
        if self.groups is None:
            total = square.unflatten(-1, (count, -1)).sum(-1)
        else:
            index = self.groups.long().expand(square.shape)
            total = square.new_zeros((*square.shape[:-1], count)).scatter_add(-1, index, square)
        positive = total > 0
        return largest * torch.where(positive, torch.where(positive, total, 1.0).sqrt(), 0.0)

    def _spread(self, offset: Tensor, factor: Tensor) -> Tensor:
        """Multiply each group by its factor."""
        if self.groups is None:
            return (offset.unflatten(-1, (factor.shape[-1], -1)) * factor.unsqueeze(-1)).flatten(-2)
        shape = torch.broadcast_shapes(offset.shape[:-1], factor.shape[:-1])
        index = self.groups.long().expand(*shape, -1)
        return offset * factor.expand(*shape, -1).gather(-1, index)

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]

    @staticmethod
    def examples() -> Examples:
        rows, columns = np.repeat(np.arange(2), 3).reshape(2, 3), np.tile(np.arange(3), 2).reshape(2, 3)
        center, unequal = np.array([0.5, -1.0, 0.0, 2.0, 0.3]), np.array([0, 1, 0, 2, 1])
        weights = np.array([1.0, 0.5, 2.0])
        yield {"size": (2, 3), "radius": np.array(1.5), "groups": rows, "fixed": ("groups",)}
        around = {"groups": columns, "center": center[0] * columns}
        yield {"size": (2, 3), "radius": np.array(1.0), **around, "fixed": ("groups",)}
        data = {"groups": unequal, "center": center, "weights": weights}
        yield {"size": (5,), "radius": np.array(0.7), **data, "fixed": ("groups", "weights")}


@dataclass(frozen=True, eq=False)
class _Norm:
    """``scale * ||(y - center)_entries|| <= t_member``."""

    member: int
    entries: np.ndarray
    scale: float
    center: Affine


def _read_norm(block: Block, cone: BlockCone) -> _Norm | None:
    """Read a cone with one auxiliary entry in its head, and a multiple of an isometry of entries in its tail."""
    n, matrix = block.size, cone.matrix
    if cone.kind != "soc" or matrix is None:
        return None
    member, slope, head = matrix.indices[: matrix.indptr[1]], matrix.data[: matrix.indptr[1]], cone.offset[:1]
    entries = np.unique(matrix.indices[matrix.indptr[1] :])
    if len(member) != 1 or member[0] < n or slope[0] <= 0 or not head.is_zero:
        return None
    if len(entries) == 0 or entries[-1] >= n:
        return None
    start, offset = matrix.indptr[1], cone.offset[1:]
    column = np.searchsorted(entries, matrix.indices[start:])
    tail = sp.csr_array(
        (matrix.data[start:], column, matrix.indptr[1:] - start), shape=(len(offset.constant), len(entries))
    )
    square = _squared_scale(tail)
    if square is None:
        return None
    center = offset.mapped(-tail.T / square)
    if not add(center.mapped(tail), offset).is_zero:
        return None
    return _Norm(int(member[0]) - n, entries, float(np.sqrt(square) / slope[0]), center)


def _squared_scale(matrix: sp.csr_array) -> float | None:
    """Return the number that times the identity is ``matrix' @ matrix``; None where that is no multiple of it."""
    if (np.diff(matrix.indptr) <= 1).all():
        squares = np.bincount(matrix.indices, matrix.data**2)
        return float(squares[0]) if np.abs(squares - squares[0]).max() <= _TOLERANCE * squares[0] else None
    dense = matrix.toarray()
    gram = dense.T @ dense
    unlike = np.abs(gram - gram[0, 0] * np.eye(len(gram))).max()
    return float(gram[0, 0]) if unlike <= _TOLERANCE * gram[0, 0] else None
