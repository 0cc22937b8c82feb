"""Cones of three entries up to an isometry: in any order, with any signs, in any position."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from optlayers.autograd.first_order import first_order
from optlayers.cones import member
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block, BlockCone
from optlayers.recognition.implied_bounds import follow

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Triple:
    """``{y : rotation @ (y - apex) in K}``; the scale of a cone's rows does not matter."""

    cone: BlockCone
    rotation: np.ndarray
    apex: Affine

    @property
    def fields(self) -> dict[str, Data | None]:
        """The fields that all such sets have."""
        return {"rotation": Affine.of(self.rotation, self.apex.parameters), "apex": self.apex}


def match_triple(block: Block, kind: str, nonnegative: tuple[int, ...]) -> Triple | None:
    """Return the cone that the block is; bounds that say that entries of the cone are nonnegative do not count.

    Parameters
    ----------
    block : Block
    kind : {"exp", "pow"}
    nonnegative : tuple of int
        Which entries of the cone are.
    """
    if block.rows or block.auxiliary or len(block.cones) != 1 or block.size != 3:
        return None
    (cone,) = block.cones
    if cone.kind != kind or cone.matrix is None:
        return None
    matrix = cone.matrix.toarray()
    gram = matrix @ matrix.T
    if not np.allclose(gram, gram[0, 0] * np.eye(3), rtol=0, atol=_TOLERANCE * gram[0, 0]):
        return None
    apex = cone.offset.mapped(-matrix.T / gram[0, 0])
    rotation = matrix / np.sqrt(gram[0, 0])
    rows = rotation[list(nonnegative)]
    known = functools.partial(_is_nonnegative, rows)
    return Triple(cone, rotation, apex) if follow(block, apex, known) else None


def _is_nonnegative(rows: np.ndarray, entry: int, sign: float) -> bool:
    return bool(np.isclose(sign * rows[:, entry], 1.0, rtol=0, atol=_TOLERANCE).any())


def project_triple(kind: str, alpha: float | Tensor, rotation: Tensor, apex: Tensor, v: Tensor) -> Tensor:
    """Return the projection, with first derivatives only."""
    z = (rotation @ (v - apex).unsqueeze(-1)).squeeze(-1)
    y = (rotation.mT @ member(kind, alpha, z).unsqueeze(-1)).squeeze(-1)
    return first_order(apex + y, v, apex)
