"""Rows shared out among threads.

Compiled kernels run without the interpreter's lock, so that plain threads serve: they may be called from any thread,
and survive a fork, which numba's own threading layers do not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch

_GRAIN = 1 << 15  # entries for which another thread is worth waking


def over_rows(kernel: Callable[..., None], rows: int, n: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` on ranges that cover all rows, in at most torch's number of threads."""
    count = min(torch.get_num_threads(), rows, max(1, rows * n // _GRAIN))
    if count <= 1:
        kernel(0, rows, *arguments)
        return
    cuts = [rows * k // count for k in range(count + 1)]
    others = [
        _pool(count - 1, os.getpid()).submit(kernel, start, stop, *arguments) for start, stop in pairwise(cuts[1:])
    ]
    kernel(cuts[0], cuts[1], *arguments)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(size: int, process: int) -> ThreadPoolExecutor:
    """Return the threads; a forked process has none of its parent's, so it gets its own."""
    return ThreadPoolExecutor(size, "optlayers")
