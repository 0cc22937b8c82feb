"""Bounds that say nothing new: those that a cone's apex, or a paraboloid's vertex, already sets."""

from collections.abc import Callable

import numpy as np

from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block


def follow(block: Block, lowest: Data, increases: Callable[[int, float], bool]) -> bool:
    """Whether all bounds of a block hold wherever its other constraints do.

    `increases` says of an entry and a sign whether their product is smallest at `lowest`, a point of the set.
    """
    for bound, sign in ((block.lower, 1.0), (block.upper, -1.0)):
        if bound is None:
            continue
        if not isinstance(bound, Affine) or not isinstance(lowest, Affine):
            return False
        entries = np.flatnonzero(np.isfinite(bound.constant) | bound.is_parametric)
        gap = (lowest[entries] - bound[entries]).scaled(sign)
        if not gap.is_constant or (gap.constant < 0).any() or not all(increases(int(k), sign) for k in entries):
            return False
    return True
