"""Balls of the largest singular value."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.symbolic import smallest
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.matrix_cones import is_zero, norm_bound
from optlayers.sets.base import Examples, register
from optlayers.sets.matrix_norm_ball import Factors, MatrixNormBall
from optlayers.sets.search.spectral_functions import SingularValues


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
