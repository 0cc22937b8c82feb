"""The exponential cone in any position."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np

from optlayers.sets.base import Examples, register
from optlayers.sets.triple_cone import TripleCone


@register
@dataclass(frozen=True, eq=False)
class ExponentialCone(TripleCone):
    """``{y : q exp(p / q) <= r, q > 0}`` and its closure, with ``(p, q, r) = rotation @ (y - apex)``.

    See `optlayers.cones.exponential`.
    """

    name = "exponential cone"
    kind, nonnegative = "exp", [1, 2]

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, apex: Any) -> list[cp.Constraint]:
        p, q, r = (row @ (x - apex) for row in matrix)
        return [cp.ExpCone(p, q, r)]

    @staticmethod
    def examples() -> Examples:
        yield {"size": (3,), "matrix": np.eye(3), "apex": np.zeros(3), "fixed": ("matrix",)}
        turned = 0.5 * np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        yield {"size": (3,), "matrix": turned, "apex": np.array([0.5, -1.0, 2.0]), "fixed": ("matrix",)}
