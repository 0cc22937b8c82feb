"""The exponential cone in any position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block
from optlayers.sets.base import ClosedFormSet, register
from optlayers.sets.search.triples import match_triple, project_triple


@register
@dataclass(frozen=True, eq=False)
class ExponentialCone(ClosedFormSet):
    """``{y : q exp(p / q) <= r, q > 0}`` and its closure, with ``(p, q, r) = rotation @ (y - apex)``.

    One scalar equation, see `optlayers.cones.exponential`.

    Attributes
    ----------
    rotation : Tensor, shape (*batch, 3, 3)
        Orthogonal: as a rule a permutation with signs.
    apex : Tensor, shape (*batch, 3)
    """

    name = "exponential cone"
    is_twice_differentiable = False
    rotation: Tensor
    apex: Tensor

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, apex: Any) -> list[cp.Constraint]:
        p, q, r = (row @ (x - apex) for row in matrix)
        return [cp.ExpCone(p, q, r)]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        triple = match_triple(block, "exp", nonnegative=(1, 2))
        return None if triple is None else triple.fields

    def project(self, v: Tensor) -> Tensor:
        """Rotate, project, rotate back; on the boundary the derivative is that of an inside point."""
        return project_triple("exp", 0.0, self.rotation, self.apex, v)

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        yield {"size": (3,), "matrix": np.eye(3), "apex": np.zeros(3), "fixed": ("matrix",)}
        turned = 0.5 * np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        yield {"size": (3,), "matrix": turned, "apex": np.array([0.5, -1.0, 2.0]), "fixed": ("matrix",)}
