"""Symmetric matrices in balls of the sum of the absolute eigenvalues."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.recognition.block import Block, Fields
from optlayers.recognition.matrix_cones import is_symmetric, read_rows, trace_norm_bound
from optlayers.sets.base import Examples, register
from optlayers.sets.nuclear_norm_ball import NuclearNormBall


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
