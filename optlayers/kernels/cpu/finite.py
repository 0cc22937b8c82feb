"""Whether values are finite."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from optlayers.kernels.cpu.arrays import array, bits
from optlayers.kernels.cpu.blocks import LARGEST
from optlayers.kernels.cpu.compiled import kernel
from optlayers.kernels.cpu.threads import over_rows


def all_finite(tensor: Tensor) -> bool:
    """Return whether all entries of a contiguous tensor are."""
    numbers = array(tensor).reshape(-1)
    infinite = bits(np.full(1, np.inf, numbers.dtype))[0]
    blocks = -(-numbers.size // LARGEST)
    finite = np.empty(blocks, np.bool_)
    over_rows(_look, blocks, LARGEST, bits(numbers), infinite, finite)
    return bool(finite.all())


@kernel
def _look(first: int, last: int, patterns: np.ndarray, infinite: int, finite: np.ndarray) -> None:
    """Compare magnitudes with infinity as integers, block by block, which is vectorised."""
    for b in range(first, last):
        block = patterns[b * LARGEST : (b + 1) * LARGEST]
        largest = block.dtype.type(0)
        for i in range(block.size):
            largest = max(largest, block[i] & infinite)
        finite[b] = largest < infinite
