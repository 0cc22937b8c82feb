"""Balls that meet several linear equations."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.range import relative
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import leg, match_ball, safe_norm
from optlayers.sets.affine_set import AffineSet
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.l2_ball import L2Ball


@register
@dataclass(frozen=True, eq=False)
class BallSection(ClosedFormSet):
    """``{y : ||y - center|| <= radius, A y = b}`` for a constant matrix of at least two rows.

    In the affine set, the ball is a ball around the nearest point to its centre; the projection is that onto the affine
    set and then onto this ball, as all points of the affine set are equally far from what the first step takes off.

    Attributes
    ----------
    basis, coordinates, right, mismatch : Tensor
        Of the affine set, see `AffineSet`; `mismatch` may be None.
    center : Tensor, shape (*batch, n)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "affine set meets L2 ball"
    basis: Tensor
    coordinates: Tensor
    right: Tensor
    mismatch: Tensor | None
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any, matrix: Any, right: Any) -> list[cp.Constraint]:
        return [cp.norm(x - center, 2) <= radius, matrix @ x == right]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        ball = match_ball(dataclasses.replace(block, rows=())) if block.rows else None
        plane = ball and AffineSet.match(dataclasses.replace(block, cones=()))
        return plane and ball and {**plane, "center": ball.center, "radius": ball.radius}

    @property
    def _plane(self) -> AffineSet:
        return AffineSet(self.basis, self.coordinates, self.right, self.mismatch)

    def project(self, v: Tensor) -> Tensor:
        """Project onto the affine set, then onto the ball in it; on the sphere the derivative is an outside point's."""
        center = self._plane.project(self.center)
        radius = leg(self.radius, center - self.center)
        return L2Ball(center, radius).project(self._plane.project(v))

    def checks(self) -> list[Check]:
        """Check the radius, the affine set, and that it reaches the ball."""
        distance = safe_norm(self._plane.project(self.center) - self.center)
        reach = relative(distance - self.radius, self.radius, distance)
        return [Check.one(-self.radius, lambda block: block.cone_sources), *self._plane.checks(), Check.one(reach)]

    def relaxed(self) -> "BallSection":
        """Take the point between affine set and ball, where these do not meet.

        The square of the distance from the ball counts half, as that from the second-order cone does.
        """
        distance, radius = safe_norm(self._plane.project(self.center) - self.center), self.radius.clamp_min(0.0)
        empty = distance > radius
        share = ((distance - radius) / (3 * torch.where(empty, distance, 1.0))).clamp_min(0.0).unsqueeze(-1)
        inside = torch.einsum("...rn,...n->...r", self.basis, self.center)
        moved = self.coordinates + share * (inside - self.coordinates)
        reach = torch.where(empty, radius + (distance - radius) * 2 / 3, radius)
        return dataclasses.replace(self, coordinates=moved, radius=reach)

    @staticmethod
    def examples() -> Examples:
        matrix = np.array([[1.0, 2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 1.0, 3.0, -2.0]])
        center, right = np.array([0.5, -1.0, 0.3, 1.0, 0.0]), np.array([1.0, -2.0])
        ball = {"size": (5,), "center": center, "radius": np.array(3.0), "fixed": ("matrix",)}
        yield {**ball, "matrix": matrix, "right": right}
        twice = np.concatenate([matrix * [[1e-2], [1e3]], matrix[:1] + matrix[1:]])
        data = {"matrix": twice, "right": np.array([1e-2, -2e3, -1.0]), "fixed": ("matrix", "right")}
        yield {**ball, **data}
