"""Cones of three entries up to an isometry: in any order, with any signs, in any position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from optlayers.cones import member
from optlayers.cones.first_order import first_order
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block, BlockCone

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
    matrix = cone.matrix
    if cone.kind != kind or matrix is None:
        return None
    gram = matrix @ matrix.T
    if not np.allclose(gram, gram[0, 0] * np.eye(3), rtol=0, atol=_TOLERANCE * gram[0, 0]):
        return None
    apex = cone.offset.mapped(-matrix.T / gram[0, 0])
    rotation = matrix / np.sqrt(gram[0, 0])
    for data, sign in ((block.lower, 1.0), (block.upper, -1.0)):
        if data is not None and not _is_implied(data, sign, rotation[list(nonnegative)], apex):
            return None
    return Triple(cone, rotation, apex)


def _is_implied(data: Data, sign: float, rows: np.ndarray, apex: Affine) -> bool:
    if not isinstance(data, Affine):
        return False
    bounded = np.flatnonzero(np.isfinite(data.constant) | data.is_parametric)
    gap = (apex[bounded] - data[bounded]).scaled(sign)
    known = np.isclose(sign * rows[:, bounded], 1.0, rtol=0, atol=_TOLERANCE).any(axis=0)
    return gap.is_constant and bool((gap.constant >= 0).all() and known.all())


def project_triple(kind: str, alpha: float | Tensor, rotation: Tensor, apex: Tensor, v: Tensor) -> Tensor:
    """Return the projection, with first derivatives only."""
    z = (rotation @ (v - apex).unsqueeze(-1)).squeeze(-1)
    y = (rotation.mT @ member(kind, alpha, z).unsqueeze(-1)).squeeze(-1)
    return first_order(apex + y, v, apex)
