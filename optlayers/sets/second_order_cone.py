"""Circular cones: the second-order cone in any position, with any opening angle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block
from optlayers.sets.base import ClosedFormSet, register
from optlayers.sets.quadratic import safe_norm
from optlayers.sets.quadric import is_rotated, match_cone


@register
@dataclass(frozen=True, eq=False)
class SecondOrderCone(ClosedFormSet):
    """``{y : ||x|| <= slope * t}``, `t` being the part of ``y - apex`` along the axis, `x` what is orthogonal to it.

    Three cases: inside the cone, inside its polar, or on the boundary, at the height ``(t + slope ||x||) / (1 +
    slope^2)`` (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1, for slope 1). The rotated cone
    ``{||x||^2 <= 2 y z, y >= 0, z >= 0}`` is one of these, with its axis between those of `y` and `z`.

    Attributes
    ----------
    axis : Tensor, shape (*batch, n)
        A unit vector.
    apex : Tensor, shape (*batch, n)
    slope : Tensor, shape (*batch,)
        Positive.
    """

    name = "second-order cone"
    axis: Tensor
    apex: Tensor
    slope: Tensor

    @staticmethod
    def constraints(x: cp.Variable, head: Any, tail: Any, apex: Any) -> list[cp.Constraint]:
        return [cp.norm(tail @ (x - apex), 2) <= head @ (x - apex)]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        cone = match_cone(block)
        if cone is None or not cone.is_circular or cone.axes is None:
            return None
        return {
            "axis": Affine.of(cone.axes[0], block.parameters),
            "apex": cone.center,
            "slope": Affine.of(cone.weights[-1] ** -0.5, block.parameters),
        }

    @classmethod
    def label(cls, block: Block) -> str:
        return "rotated second-order cone" if is_rotated(block) else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Choose one of the three cases; on the boundary of the cone or its polar, the derivative is theirs."""
        offset = v - self.apex
        height = (self.axis * offset).sum(-1)
        across = offset - height.unsqueeze(-1) * self.axis
        length = safe_norm(across)
        inside, polar = length <= self.slope * height, self.slope * length <= -height
        on = ((height + self.slope * length) / (1 + self.slope.square())).unsqueeze(-1)
        shrink = self.slope / torch.where(length > 0, length, 1.0)
        boundary = self.apex + on * (self.axis + across * shrink.unsqueeze(-1))
        outside = torch.where(polar.unsqueeze(-1), self.apex, boundary)
        return torch.where(inside.unsqueeze(-1), v, outside)

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        apex, fixed = np.array([0.5, -1.0, 0.3, 2.0]), ("head", "tail")
        identity = np.eye(4)
        yield {"size": (4,), "head": identity[0], "tail": identity[1:], "apex": np.zeros(4), "fixed": fixed}
        yield {"size": (4,), "head": -3 * identity[2], "tail": identity[[3, 0, 1]], "apex": apex, "fixed": fixed}
        rotated = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2**0.5, 0.0], [0.0, 0.0, 0.0, 2**0.5]])
        yield {"size": (4,), "head": np.array([1.0, 1, 0, 0]), "tail": rotated, "apex": apex, "fixed": fixed}
        turn = np.linalg.qr(np.array([[1.0, 2, 3], [0, 1, 5], [3, 1, 0]]))[0]
        yield {"size": (3,), "head": 1e-2 * turn[0], "tail": turn[1:], "apex": apex[:3], "fixed": fixed}
