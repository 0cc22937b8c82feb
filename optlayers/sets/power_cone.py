"""The power cone in any position."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.quadric import match_cone
from optlayers.sets.base import Examples, register
from optlayers.sets.triple_cone import TripleCone


@register
@dataclass(frozen=True, eq=False)
class PowerCone(TripleCone):
    """``{y : p^exponent q^(1 - exponent) >= |r|, p, q >= 0}`` with ``(p, q, r) = rotation @ (y - apex)``.

    See `optlayers.cones.power`; the exponent is of shape ``(*batch,)``. That of 1/2 gives an elliptic cone.
    """

    name = "power cone"
    kind, nonnegative = "pow", [0, 1]
    exponent: Tensor

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, apex: Any, exponent: float) -> list[cp.Constraint]:
        p, q, r = (row @ (x - apex) for row in matrix)
        return [cp.PowCone3D(p, q, r, exponent)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        fields = super().match(block)
        if fields is None or match_cone(block) is not None:
            return None
        return {**fields, "exponent": Affine.of(block.cones[0].alpha, block.parameters)}

    @property
    def alpha(self) -> float | Tensor:
        return self.exponent

    @staticmethod
    def examples() -> Examples:
        fixed = ("matrix", "exponent")
        yield {"size": (3,), "matrix": np.eye(3), "apex": np.zeros(3), "exponent": 0.3, "fixed": fixed}
        turned = 3 * np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
        apex = np.array([0.5, -1.0, 2.0])
        yield {"size": (3,), "matrix": turned, "apex": apex, "exponent": 0.8, "fixed": fixed}
