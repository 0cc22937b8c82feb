"""Balls that meet boxes: the nonnegative L2 ball and its kin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.cones.common import primal
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block
from optlayers.sets.base import ClosedFormSet, register, relative
from optlayers.sets.box import Box, clamp
from optlayers.sets.quadratic import leg, match_norm, safe_norm
from optlayers.sets.section_search import search


@register
@dataclass(frozen=True, eq=False)
class BoxBall(ClosedFormSet):
    """``{y : lower <= y <= upper, ||y - center|| <= radius}``.

    With the multiplier of the ball, the answer is ``clamp(center + s (v - center), lower, upper)`` for some `s` between
    0 and 1. The square of its distance from the centre is a sum of clamped multiples of ``s^2``: piecewise linear and
    increasing, so that `s` is found as the multiplier of a box section is (see `BoxSection`).

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
        ball = [cp.norm(cp.vec(x - center, order="C"), 2) <= radius]
        return ball + [x >= lower] * (lower is not None) + [x <= upper] * (upper is not None)

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        if not block.has_bounds:
            return None
        norm = match_norm(dataclasses.replace(block, lower=None, upper=None))
        if norm is None or not norm.is_isotropic:
            return None
        return {"lower": block.lower, "upper": block.upper, "center": norm.center, "radius": norm.radius}

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block)
        zeros = fields is not None and all(isinstance(f := fields[key], Affine) and f.is_zero for key in _ZEROS)
        return "nonnegative L2 ball" if zeros and block.upper is None and block.bounded == block.size else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Search for the entries at bounds, then scale the others with these fixed.

        An entry exactly at a bound takes the derivative of the bound; on the sphere it is that of an outside point.
        """
        box = clamp(v, self.lower, self.upper)
        offset, radius = v - self.center, self.radius.clamp_min(0.0)
        lower, upper = (None if bound is None else bound - self.center for bound in (self.lower, self.upper))
        outside = safe_norm(primal(box - self.center)) >= primal(radius)
        low, high = (None if bound is None else primal(bound) for bound in (lower, upper))
        scale = _search_scale(primal(offset), low, high, primal(radius))
        moved = primal(offset) * scale.unsqueeze(-1)
        free = torch.ones_like(moved, dtype=torch.bool)
        for bound, sign in ((low, 1.0), (high, -1.0)):
            if bound is not None:
                free = free & (sign * (moved - bound) > 0)
        fixed = torch.where(free, 0.0, clamp(moved, lower, upper))
        length = safe_norm(torch.where(free, offset, 0.0))
        reach = leg(radius, fixed).clamp_min(0.0) / torch.where(length > 0, length, 1.0)
        y = self.center + torch.where(free, offset * reach.unsqueeze(-1), fixed)
        y = y + (clamp(y.detach(), self.lower, self.upper) - y).detach()
        return torch.where(outside.unsqueeze(-1), y, box)

    def infeasibility(self) -> Tensor | None:
        """Check that the box reaches the ball, the radius, and that the box's bounds do not cross."""
        gap = clamp(self.center, self.lower, self.upper) - self.center
        excess = (safe_norm(gap) - self.radius).unsqueeze(-1)
        size = gap.abs().amax(-1, keepdim=True)
        checks = [relative(excess, self.radius.unsqueeze(-1), size), -self.radius.unsqueeze(-1)]
        crossed = Box(self.lower, self.upper).infeasibility()
        checks += [] if crossed is None else [crossed]
        batch = torch.broadcast_shapes(*(check.shape[:-1] for check in checks))
        return torch.cat([check.expand(*batch, -1) for check in checks], -1)

    def relaxed(self) -> BoxBall:
        """Let bounds that cross meet halfway; then, out of reach, take the point between box and ball.

        In the violations' squares, the distance from the ball counts half, as that from the second-order cone does.
        """
        box = Box(self.lower, self.upper).relaxed()
        corner = clamp(self.center, box.lower, box.upper)
        distance, radius = safe_norm(corner - self.center), self.radius.clamp_min(0.0)
        empty = distance > radius
        share = (distance - radius) / (3 * torch.where(empty, distance, 1.0))
        point = corner + (self.center - corner) * share.unsqueeze(-1)
        lower = torch.full_like(point, -torch.inf) if box.lower is None else box.lower
        upper = torch.full_like(point, torch.inf) if box.upper is None else box.upper
        return BoxBall(
            torch.where(empty.unsqueeze(-1), point, lower),
            torch.where(empty.unsqueeze(-1), point, upper),
            self.center,
            torch.where(empty, distance, radius),
        )

    @classmethod
    def blame(cls, block: Block, check: int) -> set[int]:
        ball = {source for cone in block.cones for source in cone.sources}
        if check == 0:
            return block.sources
        return ball if check == 1 else block.bound_sources(np.array([check - 2]))

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
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
_SLOW = 1e-30  # entries that are slower than this, relative to the fastest, do not move
_BEYOND = 2.0  # radii from the centre, where no entry of a point of the ball is


def _search_scale(offset: Tensor, lower: Tensor | None, upper: Tensor | None, radius: Tensor) -> Tensor:
    """Return `s` with ``||clamp(s offset, lower, upper)|| = radius``, as far as it goes.

    Along its own direction an entry's square is ``s^2 offset^2`` between two numbers; those that do not move count
    towards the radius. In units of the largest offset, and of the radius, nothing overflows.
    """
    size = offset.abs().amax(-1, keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    unit = torch.where(radius > 0, radius, 1.0).unsqueeze(-1)
    speed, up = offset.abs() / size, offset > 0
    low = torch.full_like(speed, -torch.inf) if lower is None else lower / unit
    high = torch.full_like(speed, torch.inf) if upper is None else upper / unit
    low, high = torch.where(up, low, -high), torch.where(up, high, -low)
    still = (speed < _SLOW) | (high <= 0)
    rest = torch.where(still, torch.zeros_like(speed).clamp(low, high), 0.0)
    total = (radius / unit.squeeze(-1)).square() - rest.square().sum(-1)
    divisor = torch.where(still, 1.0, speed)
    low, high = (torch.where(still, 0.0, t.clamp(0.0, _BEYOND).square() / divisor) for t in (low, high))
    square = -search(torch.zeros_like(speed), torch.where(still, 0.0, speed), low, high, total.clamp_min(0.0))
    return square.clamp_min(0.0).sqrt() * (unit / size).squeeze(-1)
