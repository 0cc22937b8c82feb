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
    """Call a function on the rows of matrices: compiled and shared out as by `threads.over_rows`, or as it is."""
    if interpreted:
        with np.errstate(all="ignore"):  # as compiled code does
            function(0, len(arrays[0]), *arrays)
        return
    from optlayers.kernels.cpu.threads import over_rows

    over_rows(_compiled(function), *arrays[0].shape, *arrays)
