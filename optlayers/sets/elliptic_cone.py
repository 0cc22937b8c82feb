"""Elliptic cones, the rotated cone among them, and sheets of hyperboloids."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.principal_axes import combine, coordinates
from optlayers.recognition.quadric import is_rotated, match_cone
from optlayers.sets.base import ClosedFormSet, Examples, register
from optlayers.sets.search.secular_search import attached_root


@register
@dataclass(frozen=True, eq=False)
class EllipticCone(ClosedFormSet):
    """``{y : sum_i weights_i z_i^2 + excess <= 0, head @ z >= 0}``, `z` being principal coordinates of ``y - center``.

    The height `r` of the projection of a point with the head `t` solves ``sum_i weights_i z_i^2 / ((1 + weights_i) r -
    weights_i t)^2 + excess / r^2 = 1``, a secular equation (see `secular_search`). ``{||x||^2 <= y z}`` is such a cone,
    with weights 1 along the difference of `y` and `z` and 2 along `x`; without an excess it is a cone, else one sheet
    of a hyperboloid, such as ``{y z >= 1}``.

    Attributes
    ----------
    axes, weights, head, center : Tensor
        See `Quadric`; `axes` may be None.
    excess : Tensor, shape (*batch,), or None
        Nonnegative.
    """

    name = "elliptic cone"
    axes: Tensor | None
    weights: Tensor
    head: Tensor
    center: Tensor
    excess: Tensor | None

    @staticmethod
    def constraints(x: cp.Variable, head: Any, tail: Any, center: Any, gap: Any = None) -> list[cp.Constraint]:
        offset = tail @ (x - center)
        return [cp.norm(offset if gap is None else cp.hstack([offset, gap]), 2) <= head @ (x - center)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        cone = match_cone(block)
        if cone is None or cone.is_circular:
            return None
        return {**cone.fields(block.parameters), "excess": cone.excess}

    @classmethod
    def label(cls, block: Block) -> str:
        cone = match_cone(block)
        if cone is not None and cone.excess is not None:
            return "hyperboloid"
        return "rotated cone" if is_rotated(block) else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Find the height; on the boundary of the cone or its polar, the derivative is theirs."""
        offset = v - self.center
        excess = torch.zeros_like(offset[..., 0]) if self.excess is None else self.excess
        size = primal(offset).abs().amax(-1).maximum(primal(excess).sqrt())
        size = torch.where(size > 0, size, 1.0)
        z, rest, squares = coordinates(self.axes, offset / size.unsqueeze(-1))
        excess = excess / size / size
        t, weights = (self.head * z).sum(-1), self.weights.clamp_min(0.0)
        total = (weights * squares).sum(-1) + excess
        polar = torch.where(self.weights > 0, squares / torch.where(weights > 0, weights, 1.0), 0.0).sum(-1)
        inside = (t >= 0) & (total <= t.square())
        falls = (t <= 0) & (polar <= t.square()) & (excess <= 0)
        solvable = ~(inside | falls)
        height = self._height(
            torch.where(solvable, t, 0.0),
            torch.where(solvable.unsqueeze(-1), weights * squares, 1.0),
            torch.where(solvable, excess, 1.0),
        )
        reached = height.unsqueeze(-1)
        shrunk = reached / (reached + weights * (reached - torch.where(solvable, t, 0.0).unsqueeze(-1)))
        flat = (self.weights == 0).to(self.weights.dtype)
        factors = torch.where(falls.unsqueeze(-1), flat, shrunk)
        top = torch.where(falls, 0.0, height)
        moved = torch.where(self.head == 0, z * factors[..., : z.shape[-1]], self.head * top.unsqueeze(-1))
        y = self.center + size.unsqueeze(-1) * combine(self.axes, moved, rest, factors)
        return torch.where(inside.unsqueeze(-1), v, y)

    def _height(self, t: Tensor, squares: Tensor, excess: Tensor) -> Tensor:
        """Start from the largest root of the equation with one term alone; terms that are zero get no denominator."""
        weights = self.weights.clamp_min(0.0)
        single = ((squares.sqrt() + weights * t.unsqueeze(-1)) / (1 + weights)).amax(-1)
        start = single.maximum(excess.sqrt()).maximum(t).clamp_min(0.0)
        squares = torch.cat([squares, excess.unsqueeze(-1)], -1)
        weights = torch.cat([weights.expand_as(squares[..., 1:]), torch.zeros_like(squares[..., :1])], -1)
        null = squares == 0
        levels = torch.where(null, 1.0, -weights * t.unsqueeze(-1))
        return attached_root(start, squares, torch.where(null, 0.0, 1 + weights), levels)

    @staticmethod
    def examples() -> Examples:
        center, fixed = np.array([0.5, -1.0, 0.3, 2.0]), ("head", "tail")
        identity, both = np.eye(4), np.array([1.0, 1.0, 0.0, 0.0])
        rotated = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
        yield {"size": (4,), "head": both, "tail": rotated, "center": center, "fixed": fixed}
        scales = np.array([[0.2], [1.0], [3.0]])
        yield {"size": (4,), "head": -identity[3], "tail": scales * identity[:3], "center": center, "fixed": fixed}
        dense = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.5, 0.5]])
        yield {"size": (3,), "head": np.array([0.5, 3, 1.0]), "tail": dense, "center": center[:3], "fixed": fixed}
        flat = {"head": identity[0], "tail": identity[1:3] * [[1.0], [2.0]]}
        yield {"size": (4,), **flat, "center": center, "fixed": fixed}
        yield {"size": (4,), **flat, "center": center, "gap": np.array(0.7), "fixed": fixed}
        hyperbola = {"head": both[:2], "tail": rotated[:1, :2]}
        yield {"size": (2,), **hyperbola, "center": np.zeros(2), "gap": np.array(2.0), "fixed": fixed}
