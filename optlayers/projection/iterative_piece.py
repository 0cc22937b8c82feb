"""What pieces without closed form have in common: they look for the projection, and say how they fared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import Values
from optlayers.projection.pieces import ClosedFormPiece
from optlayers.recognition.block import Block


@dataclass(frozen=True, eq=False)
class Projected:
    """What became of the points of a piece; the largest over the blocks."""

    value: Tensor  # (*batch, blocks, n); of any value where not solved, unless least-infeasible points were asked for
    status: Tensor  # (*batch,)
    violation: Tensor  # (*batch,)
    steps: Tensor  # (*batch,)
    duals: Tensor  # (*batch, blocks, slacks), in the user's units
    state: Tensor  # (*batch, *state_shape): what a warm start takes over
    error: Tensor | None = None  # (*batch,): the relative KKT residual, None where another method ran


class IterativePiece(ABC):
    """Blocks that no closed form takes.

    Must be defined: `method` and `solve`. May be overridden: what is known of warm starts and of emptiness; and
    `members`, sets whose intersection the blocks are, where the method works on such: none of them may be empty.
    """

    blocks: tuple[Block, ...]
    members: Sequence[ClosedFormPiece] = ()

    @property
    def columns(self) -> np.ndarray:
        """The entries of each block in the point, ``(blocks, n)``."""
        return np.stack([block.columns for block in self.blocks])

    @abstractmethod
    def method(self, block: int) -> str:
        """Say how a block is projected onto, for `explain`."""

    @abstractmethod
    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        """Project points ``(*batch, blocks, n)``; batch dimensions broadcast against those of the parameters.

        With `relax`, samples whose set is empty get their least-infeasible point, where the method has such. `start` is
        `Projected.state` of nearby points.
        """

    @property
    def state_shape(self) -> tuple[int, int]:
        """The last two dimensions of `Projected.state`; by default, nothing is kept for a warm start."""
        return len(self.columns), 0

    def suspects(self, values: Values) -> set[int]:
        """Return the user's constraints that are proved to conflict for one sample's values; empty: nothing is."""
        return set()

    def constant_suspects(self) -> set[int] | None:
        """Return those that conflict whatever the parameters are; None where the blocks are not known to be empty."""
        return None


# Makes pieces of the blocks without closed form; the strings are the names of all constraints.
MakePieces = Callable[[Sequence[Block], Snapshot, Sequence[str]], Sequence[IterativePiece]]
