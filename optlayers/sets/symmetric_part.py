"""Matrices whose symmetric part has bounded eigenvalues."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.sets.base import Examples, register
from optlayers.sets.spectral_set import SpectralSet, eigenvalue_constraints


@register
@dataclass(frozen=True, eq=False)
class SymmetricPart(SpectralSet):
    """Matrices whose symmetric part lies in a `SpectralSet`: what ``X >> 0`` says of a variable that is not symmetric.

    The other part is orthogonal to all symmetric matrices, and stays as it is.
    """

    name = "spectral set of the symmetric part"
    is_symmetric = False

    @staticmethod
    def constraints(x: cp.Variable, **data: Any) -> list[cp.Constraint]:
        return eigenvalue_constraints(x, **data)

    def project(self, v: Tensor) -> Tensor:
        matrix = v.unflatten(-1, self.center.shape[-2:])
        symmetric = matrix / 2 + matrix.mT / 2 - self.center
        return (matrix + (self.project_symmetric(symmetric) - symmetric)).flatten(-2)

    @staticmethod
    def examples() -> Examples:
        yield {"size": (3, 3), "lower": np.array(0.0)}
        yield {"size": (2, 2), "lower": np.array(-0.5), "upper": np.array(1.0), "total": np.array(1.0)}
