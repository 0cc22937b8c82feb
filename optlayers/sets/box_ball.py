"""Balls that meet boxes: the nonnegative L2 ball and its kin."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.range import clamp, filled, relative
from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import leg, match_ball, safe_norm, unit_and_norm
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.search.ball_search import search_scale


@register
@dataclass(frozen=True, eq=False)
class BoxBall(ClosedFormSet):
    """``{y : lower <= y <= upper, ||y - center|| <= radius}``.

    With the multiplier of the ball, the answer is ``clamp(center + s (v - center), lower, upper)`` for some `s` between
    0 and 1. The square of its distance from the centre is a sum of clamped multiples of ``s^2``: piecewise linear and
    increasing (see `ball_search`).

    Attributes
    ----------
    lower, upper : Tensor, shape (*batch, n), or None
    center : Tensor, shape (*batch, n)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "box meets L2 ball"
    lower: Tensor | None
    upper: Tensor | None
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, center: Any, radius: Any, lower: Any = None, upper: Any = None
    ) -> list[cp.Constraint]:
        return [cp.norm(cp.vec(x - center, order="C"), 2) <= radius, *between(x, lower, upper)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if not block.has_bounds:
            return None
        ball = match_ball(dataclasses.replace(block, lower=None, upper=None))
        return ball and {"lower": block.lower, "upper": block.upper, "center": ball.center, "radius": ball.radius}

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block) or {}
        zeros = all(isinstance(data := fields[key], Data) and data.is_zero for key in _ZEROS)
        return "nonnegative L2 ball" if zeros and block.upper is None and block.bounded == block.size else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Search for the entries at bounds, then scale the others with these fixed.

        An entry exactly at a bound takes the derivative of the bound; on the sphere it is that of an outside point.
        """
        box = clamp(v, self.lower, self.upper)
        offset, radius = v - self.center, self.radius.clamp_min(0.0)
        lower, upper = (None if bound is None else bound - self.center for bound in (self.lower, self.upper))
        outside = safe_norm(primal(box - self.center)) >= primal(radius)
        moved = primal(offset) * search_scale(offset, lower, upper, radius).unsqueeze(-1)
        free = torch.ones_like(moved, dtype=torch.bool)
        if lower is not None:
            free = free & (moved > primal(lower))
        if upper is not None:
            free = free & (moved < primal(upper))
        fixed = torch.where(free, 0.0, clamp(moved, lower, upper))
        unit, _ = unit_and_norm(torch.where(free, offset, 0.0))
        reach = leg(radius, fixed).clamp_min(0.0).unsqueeze(-1)
        y = self.center + torch.where(free, unit * reach, fixed)
        y = y + (clamp(y.detach(), self.lower, self.upper) - y).detach()
        return torch.where(outside.unsqueeze(-1), y, box)

    def checks(self) -> list[Check]:
        """Check the radius, that the box's bounds do not cross, and that it reaches the ball."""
        gap = clamp(self.center, self.lower, self.upper) - self.center
        excess = (safe_norm(gap) - self.radius).unsqueeze(-1)
        excess = relative(excess, self.radius.unsqueeze(-1), gap.abs().amax(-1, keepdim=True))
        apart = torch.where(torch.cat([gap, -gap], -1) <= 0, -1.0, excess)
        return [
            Check.one(-self.radius, lambda block: block.cone_sources),
            *Box(self.lower, self.upper).checks(),
            Check(apart, _side_sources, is_joint=True),
        ]

    def relaxed(self) -> "BoxBall":
        """Let bounds that cross meet halfway; then, out of reach, take the point between box and ball.

        In the violations' squares, the distance from the ball counts half, as that from the second-order cone does.
        """
        box = Box(self.lower, self.upper).relaxed()
        corner = clamp(self.center, box.lower, box.upper)
        distance, radius = safe_norm(corner - self.center), self.radius.clamp_min(0.0)
        empty = distance > radius
        share = (distance - radius) / (3 * torch.where(empty, distance, 1.0))
        point = corner + (self.center - corner) * share.unsqueeze(-1)
        lower, upper = filled(box.lower, -torch.inf, point), filled(box.upper, torch.inf, point)
        lower, upper = (torch.where(empty.unsqueeze(-1), point, bound) for bound in (lower, upper))
        return BoxBall(lower, upper, self.center, torch.where(empty, distance, radius))

    @staticmethod
    def examples() -> Examples:
        zeros, center = np.zeros(4), np.array([0.5, -1.0, 0.3, 1.0])
        yield {"size": (4,), "center": zeros, "radius": np.array(1.5), "lower": zeros.copy()}
        yield {"size": (4,), "center": center, "radius": np.array(2.0), "lower": zeros, "upper": zeros + 1.2}
        yield {"size": (2, 3), "center": np.ones((2, 3)), "radius": np.array(1.3), "upper": np.full((2, 3), 1.5)}
        lower = np.array([-np.inf, 1.0, -0.5, -np.inf])
        upper = np.array([0.4, np.inf, 0.5, np.inf])
        fixed = ("lower", "upper")
        data = {"center": zeros, "radius": np.array(1.2), "lower": lower, "upper": upper}
        yield {"size": (4,), **data, "fixed": fixed}


_ZEROS = ("lower", "center")


def _side_sources(block: Block) -> list[set[int]]:
    """Return the user's constraints of the ball and each lower bound, then those of the ball and each upper bound."""
    bounds = (*block.sources_by_entry(1), *block.sources_by_entry(-1))
    return [block.cone_sources | sources for sources in bounds]
