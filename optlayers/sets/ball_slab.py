"""Balls that meet a half-space, a slab or a hyperplane."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.range import Range, relative
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import leg, match_ball
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.slab import Slab


@register
@dataclass(frozen=True, eq=False)
class BallSlab(ClosedFormSet):
    """``{y : ||y - center|| <= radius, lower <= normal @ y <= upper}``.

    On a hyperplane, the ball is a ball around the nearest point to its centre, and the projection is that onto the
    hyperplane and then onto this ball. The distance from the point is a convex function of the hyperplane's level, and
    smallest at that of the projection onto the ball: the level of the answer is the nearest to it that is allowed.

    Attributes
    ----------
    normal, center : Tensor, shape (*batch, n)
    level : Range of Tensor, shape (*batch,)
        Of ``normal @ y``; a hyperplane's is fixed.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "slab meets L2 ball"
    normal: Tensor
    level: Range[Tensor]
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, center: Any, radius: Any, normal: Any, lower: Any = None, upper: Any = None, total: Any = None
    ) -> list[cp.Constraint]:
        return [cp.norm(x - center, 2) <= radius, *Slab.constraints(x, normal, lower, upper, total)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        slab = Slab.match(dataclasses.replace(block, cones=()))
        ball = match_ball(dataclasses.replace(block, rows=())) if slab else None
        return slab and ball and {**slab, "center": ball.center, "radius": ball.radius}

    @classmethod
    def label(cls, block: Block) -> str:
        return f"{Slab.label(block)} meets L2 ball"

    def project(self, v: Tensor) -> Tensor:
        """Find the level, then project onto the section; a level at its bound takes the derivative of the bound."""
        if self.level.is_fixed:
            return self._section(v, self.level.value)
        inside = L2Ball(self.center, self.radius).project(v)
        level = (self.normal * inside).sum(-1)
        loose = self.level.surrounds(level).unsqueeze(-1)
        return torch.where(loose, inside, self._section(v, self.level.clamp(level)))

    def _section(self, v: Tensor, level: Tensor) -> Tensor:
        plane = Slab(self.normal, Range.fixed(level))
        center = plane.project(self.center)
        radius = leg(self.radius, center - self.center)
        return L2Ball(center, radius).project(plane.project(v))

    def checks(self) -> list[Check]:
        """Check the radius, the slab, and that it reaches the ball from both sides."""
        checks = [Check.one(-self.radius, lambda block: block.cone_sources), *Slab(self.normal, self.level).checks()]
        length = self.normal.square().sum(-1).sqrt()
        length = torch.where(length > 0, length, 1.0)
        level = (self.normal * self.center).sum(-1)
        for side, bound in self.level.sides:
            excess = side * (bound - level) / length - self.radius
            checks.append(Check.one(relative(excess, self.radius), partial(_side_sources, side)))
        return checks

    def relaxed(self) -> "BallSlab":
        """Let bounds that cross meet halfway; then, out of reach, take the point between slab and ball.

        The square of the distance from the ball counts half, as that from the second-order cone does.
        """
        allowed, radius = self.level.uncrossed(), self.radius.clamp_min(0.0)
        level = (self.normal * self.center).sum(-1)
        gap = allowed.clamp(level) - level
        length = self.normal.square().sum(-1).sqrt()
        far = gap.abs() / torch.where(length > 0, length, 1.0)
        empty = (far > radius) & (length > 0)
        reach = torch.where(empty, radius + (far - radius) * 2 / 3, radius)
        reached = level + gap.sign() * reach * length
        return BallSlab(self.normal, allowed.replaced(empty, reached), self.center, reach)

    @staticmethod
    def examples() -> Examples:
        center, normal = np.array([0.5, -1.0, 0.3, 1.0]), np.array([1.0, -2.0, 0.5, 3.0])
        ball = {"size": (4,), "center": center, "radius": np.array(1.5), "normal": normal}
        yield {**ball, "total": np.array(4.0)}
        yield {**ball, "upper": np.array(4.0)}
        yield {**ball, "lower": np.array(6.0), "upper": np.array(7.0)}
        yield {**ball, "normal": 1e-3 * normal, "lower": np.array(6e-3)}


def _side_sources(side: float, block: Block) -> set[int]:
    return block.cone_sources | block.row_sources(side)
