"""L2 balls."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.fused import by_plain_form, rows_of
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import match_ball, unit_and_norm
from optlayers.sets.base import Check, ClosedFormSet, Examples, register


@register
@dataclass(frozen=True, eq=False)
class L2Ball(ClosedFormSet):
    """``{y : ||y - center||_2 <= radius}``, the Euclidean (for matrices the Frobenius) ball.

    Attributes
    ----------
    center : Tensor, shape (*batch, n), or None
        None for zero.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "L2 ball"
    kernels = "l2_ball"
    center: Tensor | None
    radius: Tensor

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any) -> list[cp.Constraint]:
        return [cp.norm(cp.vec(x - center, order="C"), 2) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        ball = match_ball(block)
        return ball and {"center": None if ball.center.is_zero else ball.center, "radius": ball.radius}

    def project(self, v: Tensor) -> Tensor:
        """Scale the offset from the centre; on the sphere the derivative is that of an outside point."""
        fused = self.fused(v)
        return self._around_center(v, *self._scaled(self._offset(v))) if fused is None else fused

    def fused(self, v: Tensor) -> Tensor | None:
        rows = rows_of(self.kernels, self._offset(v), self.center, numbers=(self.radius,))
        if rows is None:
            return None
        value, norm = rows.kernels.project(rows.points, *rows.numbers)
        scaled = rows.answer(value, self._pull, (rows.leaf, norm), rows.numbers)
        return self._around_center(v, scaled, rows.batched(norm) >= self.radius)

    def _offset(self, v: Tensor) -> Tensor:
        return v if self.center is None else v - self.center

    def _around_center(self, v: Tensor, scaled: Tensor, outside: Tensor) -> Tensor:
        return scaled if self.center is None else torch.where(outside.unsqueeze(-1), self.center + scaled, v)

    def _scaled(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the offset is on the ball, and whether it is not inside."""
        radius = self.radius.clamp_min(0.0)
        unit, distance = unit_and_norm(offset)
        outside = distance >= radius
        return torch.where(outside.unsqueeze(-1), unit * radius.unsqueeze(-1), offset), outside

    def _pull(self, gradient: Tensor, offset: Tensor, norm: Tensor) -> Tensor:
        return by_plain_form(lambda x: self._scaled(x)[0], gradient, offset)

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]

    @staticmethod
    def examples() -> Examples:
        yield {"size": (4,), "center": np.zeros(4), "radius": np.array(1.5)}
        yield {"size": (2, 3), "center": np.arange(6.0).reshape(2, 3), "radius": np.array(0.7)}
        yield {"size": (3,), "center": np.array([1.0, -2.0, 0.0]), "radius": np.array(1e-3)}
