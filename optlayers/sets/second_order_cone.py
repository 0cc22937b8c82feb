"""Circular cones: the second-order cone in any position, with any opening angle."""

import functools
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.fused import by_plain_form, rows_of
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import unit_and_norm
from optlayers.recognition.quadric import is_rotated, match_cone
from optlayers.sets.base import ClosedFormSet, Examples, register

_MOST_EXACT = 1 << 24  # whole numbers below are exact in float32


@register
@dataclass(frozen=True, eq=False)
class SecondOrderCone(ClosedFormSet):
    """``{y : ||x|| <= slope * t}``, `t` being the part of ``y - apex`` along the axis, `x` what is orthogonal to it.

    Three cases: inside the cone, inside its polar, or on the boundary, at the height ``(t + slope ||x||) / (1 +
    slope^2)`` (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1, for slope 1). The rotated cone
    ``{||x||^2 <= 2 y z, y >= 0, z >= 0}`` is one of these, with its axis between those of `y` and `z`.

    Attributes
    ----------
    head : Tensor, shape (*batch,), or None
        The number of the entry that the axis is along.
    axis : Tensor, shape (*batch, n), or None
        A unit vector; None where there is a head.
    apex : Tensor, shape (*batch, n), or None
        None for zero.
    slope : Tensor, shape (*batch,), or None
        Positive; None for one.
    """

    name = "second-order cone"
    kernels = "second_order_cone"
    head: Tensor | None
    axis: Tensor | None
    apex: Tensor | None
    slope: Tensor | None

    @staticmethod
    def constraints(x: cp.Variable, head: Any, tail: Any, apex: Any) -> list[cp.Constraint]:
        return [cp.norm(tail @ (x - apex), 2) <= head @ (x - apex)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        cone = match_cone(block)
        if cone is None or not cone.is_circular or cone.axes is None:
            return None
        (axis,), slope = cone.axes, cone.weights[-1] ** -0.5
        head = int(np.argmax(axis))
        is_entry = np.count_nonzero(axis) == 1 and axis[head] == 1 and head < _MOST_EXACT
        has_apex = not cone.center.is_zero
        return {
            "head": Affine.of(head, block.parameters) if is_entry else None,
            "axis": None if is_entry else Affine.of(axis, block.parameters),
            "apex": cone.center if has_apex else None,
            "slope": None if slope == 1 else Affine.of(slope, block.parameters),
        }

    @classmethod
    def label(cls, block: Block) -> str:
        return "rotated second-order cone" if is_rotated(block) else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Choose one of the three cases; on the boundary of the cone or its polar, the derivative is theirs."""
        fused = self.fused(v)
        return self._project(v) if fused is None else fused

    def fused(self, v: Tensor) -> Tensor | None:
        plain = self.head is None or self.apex is not None or self.slope is not None
        rows = None if plain else rows_of(self.kernels, v, numbers=(self.head,))
        if rows is None:
            return None
        y = rows.kernels.project(rows.points, *rows.numbers)
        return rows.answer(y, functools.partial(by_plain_form, self._project), (rows.leaf,), rows.numbers)

    def _project(self, v: Tensor) -> Tensor:
        if self.head is None:
            axis = self.axis
        else:
            axis = (torch.arange(v.shape[-1], device=v.device) == self.head.unsqueeze(-1)).to(v.dtype)
        assert axis is not None
        slope = v.new_ones(()) if self.slope is None else self.slope
        offset = v if self.apex is None else v - self.apex
        height = (axis * offset).sum(-1)
        across = offset - height.unsqueeze(-1) * axis
        unit, length = unit_and_norm(across)
        inside, polar = length <= slope * height, slope * length <= -height
        on = ((height + slope * length) / (1 + slope.square())).unsqueeze(-1)
        surface = on * (axis + unit * slope.unsqueeze(-1))
        outside = torch.where(polar.unsqueeze(-1), 0.0, surface)
        return torch.where(inside.unsqueeze(-1), v, outside if self.apex is None else self.apex + outside)

    @staticmethod
    def examples() -> Examples:
        apex, fixed = np.array([0.5, -1.0, 0.3, 2.0]), ("head", "tail")
        identity = np.eye(4)
        yield {"size": (4,), "head": identity[0], "tail": identity[1:], "apex": np.zeros(4), "fixed": fixed}
        yield {"size": (4,), "head": -3 * identity[2], "tail": identity[[3, 0, 1]], "apex": apex, "fixed": fixed}
        rotated = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2**0.5, 0.0], [0.0, 0.0, 0.0, 2**0.5]])
        yield {"size": (4,), "head": np.array([1.0, 1, 0, 0]), "tail": rotated, "apex": apex, "fixed": fixed}
        turn = np.linalg.qr(np.array([[1.0, 2, 3], [0, 1, 5], [3, 1, 0]]))[0]
        yield {"size": (3,), "head": 1e-2 * turn[0], "tail": turn[1:], "apex": apex[:3], "fixed": fixed}
