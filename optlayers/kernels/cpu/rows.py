"""Compiling a loop over the rows of matrices, and running it on several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import torch

_LEAST_WORK = 1 << 15  # entries that a thread of its own pays for


@cache
def is_available() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


@cache
def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function compiled, without the interpreter's lock; it is kept on disk for the next process."""
    import numba

    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is no folder to write to
        return numba.njit(nogil=True, error_model="numpy")(function)


def over_rows(function: Callable[..., None], *arrays: np.ndarray, interpreted: bool = False) -> None:
    """Call a function on matrices of equally many rows: compiled, in slices, one for each thread; or as it is.

    Python's own threads, as those of numba survive neither a fork nor concurrent calls.
    """
    if interpreted:
        with np.errstate(all="ignore"):  # as compiled code does
            function(*arrays)
        return
    rows = len(arrays[0])
    threads = min(torch.get_num_threads(), rows, 1 + arrays[0].size // _LEAST_WORK)
    run = compiled(function)
    if threads <= 1:
        run(*arrays)
        return
    edges = np.linspace(0, rows, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(run, *(a[i:j] for a in arrays)) for i, j in pairwise(edges)]
    for part in parts:
        part.result()
