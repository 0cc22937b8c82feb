"""Balls that meet a half-space, a slab or a hyperplane."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block
from optlayers.recognition.quadratic import leg, match_norm
from optlayers.sets.base import ClosedFormSet, join_checks, register, relative
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.search.clamp import clamp
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
    lower, upper : Tensor, shape (*batch,), or None
        One object for both says that it is a hyperplane.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "slab meets L2 ball"
    normal: Tensor
    lower: Tensor | None
    upper: Tensor | None
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(
        x: cp.Variable, center: Any, radius: Any, normal: Any, lower: Any = None, upper: Any = None, total: Any = None
    ) -> list[cp.Constraint]:
        return [cp.norm(x - center, 2) <= radius, *Slab.constraints(x, normal, lower, upper, total)]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        slab = Slab.match(dataclasses.replace(block, cones=()))
        norm = None if slab is None else match_norm(dataclasses.replace(block, rows=()))
        if slab is None or norm is None or not norm.is_isotropic:
            return None
        return {**slab, "center": norm.center, "radius": norm.radius}

    @classmethod
    def label(cls, block: Block) -> str:
        return f"{Slab.label(block)} meets L2 ball"

    def project(self, v: Tensor) -> Tensor:
        """Find the level, then project onto the section; a level at its bound takes the derivative of the bound."""
        if self.lower is not None and self.lower is self.upper:
            return self._section(v, self.lower)
        inside = L2Ball(self.center, self.radius).project(v)
        level = (self.normal * inside).sum(-1)
        allowed = clamp(level, self.lower, self.upper)
        loose = torch.ones_like(level, dtype=torch.bool)
        if self.lower is not None:
            loose = loose & (level > self.lower)
        if self.upper is not None:
            loose = loose & (level < self.upper)
        return torch.where(loose.unsqueeze(-1), inside, self._section(v, allowed))

    def _section(self, v: Tensor, level: Tensor) -> Tensor:
        plane = Slab(self.normal, level, level)
        center = plane.project(self.center)
        radius = leg(self.radius, center - self.center)
        return L2Ball(center, radius).project(plane.project(v))

    def infeasibility(self) -> Tensor | None:
        """Check the slab, that it reaches the ball, and the radius."""
        level = (self.normal * self.center).sum(-1)
        gap = clamp(level, self.lower, self.upper) - level
        length = self.normal.square().sum(-1).sqrt()
        excess = gap.abs() / torch.where(length > 0, length, 1.0) - self.radius
        own = Slab(self.normal, self.lower, self.upper).infeasibility()
        checks = [relative(excess, self.radius).unsqueeze(-1), -self.radius.unsqueeze(-1)]
        checks += [] if own is None else [own]
        return join_checks(checks)

    def relaxed(self) -> BallSlab:
        """Let bounds that cross meet halfway; then, out of reach, take the point between slab and ball.

        The square of the distance from the ball counts half, as that from the second-order cone does.
        """
        slab = Slab(self.normal, self.lower, self.upper).relaxed()
        radius = self.radius.clamp_min(0.0)
        level = (self.normal * self.center).sum(-1)
        gap = clamp(level, slab.lower, slab.upper) - level
        length = self.normal.square().sum(-1).sqrt()
        far = gap.abs() / torch.where(length > 0, length, 1.0)
        empty = (far > radius) & (length > 0)
        reach = torch.where(empty, radius + (far - radius) * 2 / 3, radius)
        reached = level + gap.sign() * reach * length
        bounds = [None if b is None else torch.where(empty, reached, b) for b in (slab.lower, slab.upper)]
        return BallSlab(self.normal, bounds[0], bounds[1], self.center, reach)

    @classmethod
    def blame(cls, block: Block, check: int) -> set[int]:
        ball = {source for cone in block.cones for source in cone.sources}
        slab = {source for row in block.rows for source in row.sources}
        return ball | slab if check == 0 else ball if check == 1 else slab

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        center, normal = np.array([0.5, -1.0, 0.3, 1.0]), np.array([1.0, -2.0, 0.5, 3.0])
        ball = {"size": (4,), "center": center, "radius": np.array(1.5), "normal": normal}
        yield {**ball, "total": np.array(4.0)}
        yield {**ball, "upper": np.array(4.0)}
        yield {**ball, "lower": np.array(6.0), "upper": np.array(7.0)}
        yield {**ball, "normal": 1e-3 * normal, "lower": np.array(6e-3)}
