"""Rows shared out among threads.

Compiled kernels run on torch's own threads where these can be had (see `team`), else on plain ones, without the
interpreter's lock. Both may be called from any thread, and after a fork, which numba's own threading layers may not.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch

from optlayers.kernels.cpu import team

_GRAIN = 1 << 14  # entries for which another thread is worth waking
_broken: list[Exception] = []  # why `team`, which is written against numba's internals, does not work


def over_rows(kernel: Callable[..., None], rows: int, n: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` on ranges that cover all rows, in at most torch's number of threads."""
    threads = torch.get_num_threads()
    count = min(threads, rows, max(1, rows * n // _GRAIN))
    if count <= 1:
        kernel(0, rows, *arguments)
    elif not _by_team(kernel, threads, count, rows, *arguments):
        _by_own_threads(kernel, rows, count, *arguments)


def _by_team(kernel: Callable[..., None], threads: int, count: int, rows: int, *arguments: Any) -> bool:
    """Run on torch's threads; return whether that was possible."""
    if _broken or not team.is_available():
        return False
    try:
        failed = team.in_team(kernel)(threads, count, rows, *arguments)
    except Exception as error:
        _broken.append(error)
        warnings.warn(f"numba cannot compile for torch's threads; kernels run on others: {error}", RuntimeWarning, 3)
        return False
    if failed:
        raise RuntimeError(f"the kernel {kernel.__name__} failed")
    return True


def _by_own_threads(kernel: Callable[..., None], rows: int, count: int, *arguments: Any) -> None:
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
