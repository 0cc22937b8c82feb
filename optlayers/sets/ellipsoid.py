"""Ellipsoids, elliptic cylinders included."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadratic import match_norm, safe_norm
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.search.secular_search import attached_root


@register
@dataclass(frozen=True, eq=False)
class Ellipsoid(ClosedFormSet):
    """``{y : sum_i weights_i z_i^2 <= radius^2}`` with ``z = axes @ (y - center)``.

    The multiplier solves one scalar equation, ``sum_i weights_i z_i^2 / (1 + t weights_i)^2 = radius^2``, by Newton's
    method on the reciprocal of the norm (see `secular_search`).

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
    def match(cls, block: Block) -> Fields | None:
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
        """Find the multiplier; on the boundary the derivative is that of an outside point."""
        offset = v - self.center
        z = offset if self.axes is None else torch.einsum("...ij,...j->...i", self.axes, offset)
        radius = self.radius.clamp_min(0.0)
        root = self.weights.sqrt()
        stretched = root * z
        outside = (safe_norm(stretched) >= radius) & (safe_norm(stretched) > 0)
        solvable = (outside & (radius > 0)).unsqueeze(-1)
        size = primal(stretched).abs().amax(-1, keepdim=True)
        size = torch.where(solvable, size, 1.0)
        unit = torch.where(solvable, stretched / size, 1.0)
        share = torch.where(solvable & (self.weights > 0), radius.unsqueeze(-1) / size, 1.0)
        multiplier = torch.where(solvable, self._multiplier(unit, share).unsqueeze(-1), 0.0)
        flat = torch.where(self.weights > 0, 0.0, z)
        shrunk = unit * radius.unsqueeze(-1) / ((share + multiplier * self.weights) * torch.where(root > 0, root, 1.0))
        moved = torch.where(solvable & (self.weights > 0), shrunk, flat)
        y = moved if self.axes is None else torch.einsum("...ij,...i->...j", self.axes, moved)
        return torch.where(outside.unsqueeze(-1), self.center + y, v)

    def _multiplier(self, unit: Tensor, share: Tensor) -> Tensor:
        """Solve ``sum_i (unit_i / (share + x weights_i))^2 = 1``, in units of the largest ``sqrt(weights_i) z_i``.

        Start from the largest root of the equation with one term alone.
        """
        alone = (primal(unit).abs() - primal(share)) / torch.where(self.weights > 0, self.weights, 1.0)
        start = torch.where(self.weights > 0, alone, 0.0).amax(-1).clamp_min(0.0)
        return attached_root(start, unit.square(), self.weights.expand_as(unit), share)

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]

    @staticmethod
    def examples() -> Examples:
        center, fixed = np.array([0.5, -1.0, 2.0]), ("matrix",)
        stretched = np.diag([1.0, 2.0, 5.0])
        yield {"size": (3,), "matrix": stretched, "center": center, "radius": np.array(1.5), "fixed": fixed}
        dense = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 3.0], [0.5, 0.5, 0.5]])
        yield {"size": (3,), "matrix": dense, "center": center, "radius": np.array(0.8), "fixed": fixed}
        yield {"size": (3,), "matrix": dense[:2], "center": center, "radius": np.array(0.3), "fixed": fixed}
        steep = np.diag([1e-2, 1.0, 1e3])
        yield {"size": (3,), "matrix": steep, "center": np.zeros(3), "radius": np.array(1.0), "fixed": fixed}
