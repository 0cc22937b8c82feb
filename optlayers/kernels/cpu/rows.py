"""Loops over the rows of matrices, compiled or interpreted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np


@cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    from optlayers.kernels.cpu.compiled import exact_kernel

    return exact_kernel(function)


def for_rows(function: Callable[..., None], *arrays: np.ndarray, interpreted: bool = False) -> None:
    """Call a function on matrices of equally many rows: compiled, shared out among threads, or as it is."""
    if interpreted:
        with np.errstate(all="ignore"):  # as compiled code does
            function(*arrays)
        return
    from optlayers.kernels.cpu.threads import over_rows

    run = _compiled(function)
    over_rows(lambda start, stop: run(*(a[start:stop] for a in arrays)), len(arrays[0]), arrays[0][:1].size)
