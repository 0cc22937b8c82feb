"""What a piece of a set is, whatever method projects onto it."""

from abc import ABC, abstractmethod

import numpy as np

from optlayers.recognition.block import Block


class Piece(ABC):
    """Equal blocks, projected onto in one batched call: a closed form, or an iterative method."""

    blocks: tuple[Block, ...]

    @property
    def columns(self) -> np.ndarray:
        """The entries of each block in the point, shape (blocks, n)."""
        return np.stack([block.columns for block in self.blocks])

    @abstractmethod
    def method(self, block: int) -> str:
        """Say how a block is projected onto, for `explain`."""
