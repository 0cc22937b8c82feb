"""Balls of norms of the singular values: the largest one, and their sum."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.deferred import deferred
from optlayers.autograd.primal import primal
from optlayers.parametric.range import Range
from optlayers.parametric.symbolic import smallest
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.matrix_cones import is_symmetric, is_zero, norm_bound, read_rows, trace_norm_bound
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.box_section import BoxSection
from optlayers.sets.search.decompositions import svd
from optlayers.sets.search.spectral_functions import SingularValues

Factors = tuple[Tensor, Tensor, Tensor]  # a singular value decomposition


@dataclass(frozen=True, eq=False)
class MatrixNormBall(ClosedFormSet):
    """``{Y : ||Y - center|| <= radius}`` for a norm of the singular values.

    The nearest point keeps the singular vectors of ``V - center`` and projects the singular values (Lewis, "The convex
    analysis of unitarily invariant matrix functions", 1995).

    Attributes
    ----------
    center : Tensor, shape (*batch, n, m)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    center: Tensor
    radius: Tensor

    def project(self, v: Tensor) -> Tensor:
        """Project the singular values; on the boundary the derivative is that of an outside point."""
        offset = v.unflatten(-1, self.center.shape[-2:]) - self.center
        is_wide = offset.shape[-2] <= offset.shape[-1]
        wide = offset if is_wide else offset.mT
        u, s, vh = svd(primal(wide))
        level = primal(self.project_values(s))
        moved = (u * level.unsqueeze(-2)) @ vh
        nearest = torch.where((level == s).all(-1)[..., None, None], primal(wide), moved)

        def expand(order: int, wide: Tensor, radius: Tensor) -> Tensor:
            size = torch.where(s[..., :1] >= torch.finfo(s.dtype).tiny, s[..., :1], 1.0)
            unit = dataclasses.replace(self, radius=radius / size.squeeze(-1))
            factors = (u, s / size, vh)
            return unit.expand(order, wide / size.unsqueeze(-1), factors) * size.unsqueeze(-1)

        result = deferred(nearest, expand, wide, self.radius)
        return (self.center + (result if is_wide else result.mT)).flatten(-2)

    @abstractmethod
    def project_values(self, s: Tensor) -> Tensor:
        """Project singular values, ``(*batch, k)``."""

    @abstractmethod
    def expand(self, order: int, matrix: Tensor, factors: Factors) -> Tensor:
        """Return the projection of matrices ``(*batch, k, m)``, for its derivatives; see `SingularValues`."""

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]


@register
@dataclass(frozen=True, eq=False)
class SpectralNormBall(MatrixNormBall):
    """``{Y : sigma_max(Y - center) <= radius}``, for matrices ``(n, m)``."""

    name = "spectral norm ball"

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any) -> list[cp.Constraint]:
        return [cp.sigma_max(x - center) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if block.rows or block.has_bounds or block.auxiliary or not block.cones:
            return None
        readings = [norm_bound(cone, block.size) for cone in block.cones]
        norms = [norm for norm in readings if norm is not None]
        if len(norms) < len(readings) or not all(is_zero(norms[0][0] - c, norms[0][0], c) for c, _ in norms[1:]):
            return None
        return {"center": norms[0][0], "radius": smallest([radius for _, radius in norms])}

    def project_values(self, s: Tensor) -> Tensor:
        return torch.minimum(s, self.radius.clamp_min(0.0).unsqueeze(-1))

    def expand(self, order: int, matrix: Tensor, factors: Factors) -> Tensor:
        """Take away what the projection onto the polar set, by Moreau's identity, leaves of the singular values."""
        radius = self.radius.clamp_min(0.0)
        outside = (factors[1] >= primal(radius).unsqueeze(-1)).to(matrix.dtype)
        return matrix - SingularValues.of(order, matrix, factors, outside).shrunk(radius)

    @staticmethod
    def examples() -> Examples:
        yield {"size": (3, 3), "center": np.zeros((3, 3)), "radius": np.array(1.5)}
        yield {"size": (2, 4), "center": np.arange(8.0).reshape(2, 4) / 4, "radius": np.array(2.0)}
        yield {"size": (4, 2), "center": np.zeros((4, 2)), "radius": np.array(1e-2)}


@register
@dataclass(frozen=True, eq=False)
class NuclearNormBall(MatrixNormBall):
    """``{Y : sum_i sigma_i(Y - center) <= radius}``, for matrices ``(n, m)``."""

    name = "nuclear norm ball"

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any) -> list[cp.Constraint]:
        return [cp.normNuc(x - center) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        bound = None if block.has_bounds else trace_norm_bound(block)
        if bound is None or len(block.rows) > 1:
            return None
        return {"center": bound[0], "radius": bound[1]}

    def _section(self, s: Tensor) -> BoxSection:
        return BoxSection(None, torch.zeros_like(s), None, Range(None, self.radius.clamp_min(0.0)))

    def project_values(self, s: Tensor) -> Tensor:
        return self._section(s).project(s)

    def expand(self, order: int, matrix: Tensor, factors: Factors) -> Tensor:
        """Shrink the singular values that stay positive; in a ball of radius zero, the largest one."""
        s, section = factors[1], self._section(factors[1])
        positive = primal(section.project(s)) > 0
        first = torch.arange(s.shape[-1], device=s.device) == 0
        free = (torch.where(positive.any(-1, keepdim=True), positive, first) & (s > 0)).to(s.dtype)
        singular = SingularValues.of(order, matrix, factors, free)
        excess = singular.values() - section.project(singular.values())
        shrunk = singular.shrunk((free * excess).sum(-1) / free.sum(-1).clamp_min(1.0))
        return torch.where((s.sum(-1) < primal(self.radius))[..., None, None], matrix, shrunk)

    @staticmethod
    def examples() -> Examples:
        yield {"size": (3, 3), "center": np.zeros((3, 3)), "radius": np.array(1.5)}
        yield {"size": (2, 3), "center": np.arange(6.0).reshape(2, 3) / 4, "radius": np.array(6.0)}
        yield {"size": (4, 2), "center": np.zeros((4, 2)), "radius": np.array(1e-2)}


@register
@dataclass(frozen=True, eq=False)
class SymmetricNuclearNormBall(NuclearNormBall):
    """The symmetric matrices in a nuclear norm ball around a symmetric one: the sum of their absolute eigenvalues."""

    name = "nuclear norm ball of symmetric matrices"

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any) -> list[cp.Constraint]:
        return [x == x.T, cp.normNuc(x - (center + center.T) / 2) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        bound = None if block.has_bounds else trace_norm_bound(block)
        if bound is None or not is_symmetric(bound[0]):
            return None
        ties = tuple(row for row in block.rows if row.is_equality)
        if len(block.rows) > len(ties) + 1 or read_rows(dataclasses.replace(block, rows=ties)) != (True, None):
            return None
        return {"center": bound[0], "radius": bound[1]}

    def project(self, v: Tensor) -> Tensor:
        """Project the symmetric part, which stays symmetric."""
        matrix = v.unflatten(-1, self.center.shape[-2:])
        return super().project(((matrix + matrix.mT) / 2).flatten(-2))

    @staticmethod
    def examples() -> Examples:
        yield {"size": (3, 3), "center": np.zeros((3, 3)), "radius": np.array(1.5), "fixed": ("center",)}
        yield {"size": (2, 2), "center": np.array([[1.0, 0.5], [0.5, -1.0]]), "radius": np.array(0.8)}
