"""The power cone in any position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block
from optlayers.recognition.quadric import match_cone
from optlayers.sets.base import ClosedFormSet, register
from optlayers.sets.search.triples import match_triple, project_triple


@register
@dataclass(frozen=True, eq=False)
class PowerCone(ClosedFormSet):
    """``{y : p^exponent q^(1 - exponent) >= |r|, p, q >= 0}`` with ``(p, q, r) = rotation @ (y - apex)``.

    One scalar equation, see `optlayers.cones.power`. The exponent 1/2 gives an elliptic cone.

    Attributes
    ----------
    rotation : Tensor, shape (*batch, 3, 3)
        Orthogonal: as a rule a permutation with signs.
    apex : Tensor, shape (*batch, 3)
    exponent : Tensor, shape (*batch,)
    """

    name = "power cone"
    is_twice_differentiable = False
    rotation: Tensor
    apex: Tensor
    exponent: Tensor

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, apex: Any, exponent: float) -> list[cp.Constraint]:
        p, q, r = (row @ (x - apex) for row in matrix)
        return [cp.PowCone3D(p, q, r, exponent)]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        triple = match_triple(block, "pow", nonnegative=(0, 1))
        if triple is None or match_cone(block) is not None:
            return None
        return {**triple.fields, "exponent": Affine.of(triple.cone.alpha, block.parameters)}

    def project(self, v: Tensor) -> Tensor:
        """Rotate, project, rotate back; on the boundary the derivative is that of an inside point."""
        return project_triple("pow", self.exponent, self.rotation, self.apex, v)

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        fixed = ("matrix", "exponent")
        yield {"size": (3,), "matrix": np.eye(3), "apex": np.zeros(3), "exponent": 0.3, "fixed": fixed}
        turned = 3 * np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
        apex = np.array([0.5, -1.0, 2.0])
        yield {"size": (3,), "matrix": turned, "apex": apex, "exponent": 0.8, "fixed": fixed}
