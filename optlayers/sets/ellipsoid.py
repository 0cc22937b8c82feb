"""Ellipsoids, elliptic cylinders included."""

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
from optlayers.sets.quadratic import match_norm, safe_norm

_STEPS = 20  # Newton is monotone; 12 steps reach rounding on all data tried, conditions of 1e24 included


@register
@dataclass(frozen=True, eq=False)
class Ellipsoid(ClosedFormSet):
    """``{y : sum_i weights_i z_i^2 <= radius^2}`` with ``z = axes @ (y - center)``.

    The multiplier solves one scalar equation, ``sum_i weights_i z_i^2 / (1 + t weights_i)^2 = radius^2``, by Newton's
    method on the reciprocal of the norm, which is concave and converges monotonically from ``t = 0`` (the secular
    equation of trust-region methods: Moré and Sorensen, "Computing a trust region step", 1983).

    Attributes
    ----------
    weights : Tensor, shape (*batch, n)
        Nonnegative, the largest is 1; a zero leaves its axis free.
    axes : Tensor, shape (*batch, n, n), or None
        Orthonormal rows; None for the coordinate axes.
    center : Tensor, shape (*batch, n)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "ellipsoid"
    weights: Tensor
    axes: Tensor | None
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, center: Any, radius: Any) -> list[cp.Constraint]:
        return [cp.norm(matrix @ (x - center), 2) <= radius]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        norm = match_norm(block)
        if norm is None or norm.is_isotropic:
            return None
        return {
            "weights": Affine.of(norm.weights, block.parameters),
            "axes": None if norm.axes is None else Affine.of(norm.axes, block.parameters),
            "center": norm.center,
            "radius": norm.radius,
        }

    def project(self, v: Tensor) -> Tensor:
        """Find the multiplier without gradient, then take two differentiable Newton steps.

        The two steps change nothing but make first and second derivatives exact. On the boundary the derivative is
        that of an outside point.
        """
        offset = v - self.center
        z = offset if self.axes is None else torch.einsum("...ij,...j->...i", self.axes, offset)
        radius = self.radius.clamp_min(0.0)
        root = self.weights.sqrt()
        length = safe_norm(root * z)
        outside = (length >= radius) & (length > 0)
        solvable = outside & (radius > 0)
        radius = torch.where(solvable, radius, 1.0)
        safe_z = torch.where(solvable.unsqueeze(-1), z, torch.ones_like(z))
        with torch.no_grad():
            t = torch.zeros_like(radius + length)
            for _ in range(_STEPS):
                t = self._newton(t, root * safe_z, radius)
        for _ in range(2):
            t = self._newton(t.clamp_min(0.0), root * safe_z, radius)
        shrunk = z / (1 + torch.where(solvable, t, 0.0).unsqueeze(-1) * self.weights)
        flat = torch.where(self.weights > 0, 0.0, z)
        moved = torch.where(solvable.unsqueeze(-1), shrunk, flat)
        y = moved if self.axes is None else torch.einsum("...ij,...i->...j", self.axes, moved)
        return torch.where(outside.unsqueeze(-1), self.center + y, v)

    def _newton(self, t: Tensor, scaled: Tensor, radius: Tensor) -> Tensor:
        """Take a Newton step for ``1 / s(t) = 1 / radius``, ``s(t) = ||scaled / (1 + t weights)||``."""
        denominator = 1 + t.unsqueeze(-1) * self.weights
        terms = scaled / denominator
        norm = safe_norm(terms)
        curvature = ((terms / norm.unsqueeze(-1)).square() * self.weights / denominator).sum(-1)
        return t + (norm / radius - 1) / curvature

    def infeasibility(self) -> Tensor | None:
        return -self.radius.unsqueeze(-1)

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        center, fixed = np.array([0.5, -1.0, 2.0]), ("matrix",)
        yield {
            "size": (3,),
            "matrix": np.diag([1.0, 2.0, 5.0]),
            "center": center,
            "radius": np.array(1.5),
            "fixed": fixed,
        }
        dense = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 3.0], [0.5, 0.5, 0.5]])
        yield {"size": (3,), "matrix": dense, "center": center, "radius": np.array(0.8), "fixed": fixed}
        yield {"size": (3,), "matrix": dense[:2], "center": center, "radius": np.array(0.3), "fixed": fixed}
        steep = np.diag([1e-2, 1.0, 1e3])
        yield {"size": (3,), "matrix": steep, "center": np.zeros(3), "radius": np.array(1.0), "fixed": fixed}
