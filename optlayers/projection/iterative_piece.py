"""What pieces without closed form have in common: they look for the projection, and say how they fared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import Values
from optlayers.projection.piece import Piece
from optlayers.projection.pieces import ClosedFormPiece
from optlayers.recognition.block import Block


@dataclass(frozen=True, eq=False)
class Projected:
    """What became of the points of a piece.

    Attributes
    ----------
    value : Tensor, shape (*batch, blocks, n)
        Of any value where the status is not 0, unless the least-infeasible points were asked for.
    status, violation, steps, error : Tensor, shape (*batch,)
        The largest over the blocks; `error` is the relative KKT residual, None where another method ran.
    duals : Tensor, shape (*batch, blocks, slacks)
        Of the slacks, in the user's units.
    state : Tensor, shape (*batch, *state_shape)
        What a warm start takes over.
    """

    value: Tensor
    status: Tensor
    violation: Tensor
    steps: Tensor
    duals: Tensor
    state: Tensor
    error: Tensor | None = None


class IterativePiece(Piece):
    """Blocks that no closed form takes.

    Must be defined: `method` and `solve`. May be overridden: what is known of warm starts and of emptiness.

    Attributes
    ----------
    members : sequence of ClosedFormPiece
        Sets whose intersection the blocks are, where the method works on such: none of them may be empty.
    """

    members: Sequence[ClosedFormPiece] = ()

    @abstractmethod
    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        """Project points ``(*batch, blocks, n)``; batch dimensions broadcast against those of the parameters.

        Parameters
        ----------
        v : Tensor
        values : Values
        relax : bool
            Whether samples whose set is empty get their least-infeasible point, where the method has such.
        start : Tensor, shape (*batch, *state_shape), optional
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
PieceMaker = Callable[[Sequence[Block], Snapshot, Sequence[str]], Sequence[IterativePiece]]
