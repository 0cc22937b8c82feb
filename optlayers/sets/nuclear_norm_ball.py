"""Balls of the sum of the singular values."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.range import Range
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.matrix_cones import trace_norm_bound
from optlayers.sets.base import Examples, register
from optlayers.sets.box_section import BoxSection
from optlayers.sets.matrix_norm_ball import Factors, MatrixNormBall
from optlayers.sets.search.spectral_functions import SingularValues


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
