"""General blocks whose entries are tied to each other: their solver works on one entry per group of tied ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import Values
from optlayers.projection.general_piece import GeneralPiece
from optlayers.projection.iterative_piece import IterativePiece, Projected
from optlayers.projection.rows import BlockRows
from optlayers.projection.ties import tie_sources, untie
from optlayers.recognition.block import Block


class TiedPiece(IterativePiece):
    """The image under an isometry `ties`, ``(n, k)``, of the blocks of a piece: ``P(v) = T P_inner(T' v)``."""

    def __init__(self, blocks: Sequence[Block], inner: GeneralPiece, ties: np.ndarray) -> None:
        self.blocks, self.inner, self.ties = tuple(blocks), inner, Constant(ties)
        self._sources = set().union(*map(tie_sources, blocks))

    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        ties = self.ties.on(v.device)
        projected = self.inner.solve(v.double() @ ties, values, relax=relax, start=start)
        return replace(projected, value=(projected.value @ ties.mT).to(v.dtype))

    def method(self, block: int) -> str:
        return self.inner.method(block)

    @property
    def state_shape(self) -> tuple[int, int]:
        return self.inner.state_shape

    def suspects(self, values: Values) -> set[int]:
        return self._with_ties(self.inner.suspects(values))

    def constant_suspects(self) -> set[int] | None:
        suspects = self.inner.constant_suspects()
        return None if suspects is None else self._with_ties(suspects)

    def _with_ties(self, suspects: set[int]) -> set[int]:
        return suspects | self._sources if suspects else suspects


def make_general_pieces(blocks: Sequence[Block], snapshot: Snapshot, labels: Sequence[str]) -> list[IterativePiece]:
    """Group blocks that can be solved as one batch."""
    groups: dict[object, list[tuple[Block, np.ndarray | None, BlockRows]]] = {}
    for block in blocks:
        reduced, ties = untie(block) or (block, None)
        rows = BlockRows.of(reduced)
        groups.setdefault((rows.key, None if ties is None else ties.tobytes()), []).append((block, ties, rows))
    pieces: list[IterativePiece] = []
    for members in groups.values():
        (_, ties, _) = members[0]
        inner = GeneralPiece([rows for _, _, rows in members], snapshot.starts)
        pieces.append(inner if ties is None else TiedPiece([block for block, _, _ in members], inner, ties))
    return pieces
