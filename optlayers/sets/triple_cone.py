"""What exponential and power cones share: cones of three entries up to an isometry, in any position."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from optlayers.autograd.first_order import first_order
from optlayers.cones import member
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.implied_bounds import follow
from optlayers.sets.base import ClosedFormSet

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class TripleCone(ClosedFormSet):
    """``{y : rotation @ (y - apex) in K}``, by one scalar equation.

    Attributes
    ----------
    rotation : Tensor, shape (*batch, 3, 3)
        Orthogonal: as a rule a permutation with signs.
    apex : Tensor, shape (*batch, 3)
    """

    is_twice_differentiable = False
    kind: ClassVar[str]
    nonnegative: ClassVar[list[int]]  # entries of K
    rotation: Tensor
    apex: Tensor

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        """Match one cone whose rows have any scale; bounds that follow from it do not count."""
        if block.rows or block.auxiliary or len(block.cones) != 1 or block.size != 3:
            return None
        (cone,) = block.cones
        if cone.kind != cls.kind or cone.matrix is None:
            return None
        matrix = cone.matrix.toarray()
        gram = matrix @ matrix.T
        if not np.allclose(gram, gram[0, 0] * np.eye(3), rtol=0, atol=_TOLERANCE * gram[0, 0]):
            return None
        apex = cone.offset.mapped(-matrix.T / gram[0, 0])
        rotation = matrix / np.sqrt(gram[0, 0])
        known = functools.partial(_is_nonnegative, rotation[cls.nonnegative])
        return {"rotation": Affine.of(rotation, block.parameters), "apex": apex} if follow(block, apex, known) else None

    @property
    def alpha(self) -> float | Tensor:
        """The exponent of a power cone."""
        return 0.0

    def project(self, v: Tensor) -> Tensor:
        """Rotate, project, rotate back; on the boundary the derivative is that of an inside point."""
        z = (self.rotation @ (v - self.apex).unsqueeze(-1)).squeeze(-1)
        y = (self.rotation.mT @ member(self.kind, self.alpha, z).unsqueeze(-1)).squeeze(-1)
        return first_order(self.apex + y, v, self.apex)


def _is_nonnegative(rows: np.ndarray, entry: int, sign: float) -> bool:
    return bool(np.isclose(sign * rows[:, entry], 1.0, rtol=0, atol=_TOLERANCE).any())
