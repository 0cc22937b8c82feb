"""The compiled core: one sample after the other, on several threads, without a tensor in the loop.

It is C++ (folder `csrc`): the dual active-set method for small polyhedra; for all else a homogeneous interior-point
method and Newton's method on the active surfaces. What it returns is a guess like any other: the KKT residual decides.
"""

from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.structure import ConeGroups

_core: Any = None
with suppress(ImportError):  # built without a compiler
    _core = import_module("optlayers._core")

_KINDS = {"soc": 0, "exp": 1, "pow": 2, "psd": 3}
_CONE = np.dtype([("kind", np.int32), ("start", np.int32), ("dimension", np.int32), ("alpha", np.float64)], align=True)
_MOST_ENTRIES = 64  # of polyhedra; larger ones are for batched linear algebra
_MOST_ENTRIES_OF_CONES = 400
_MOST_SAMPLES = 512  # of a call, between which the program can be interrupted


def is_available() -> bool:
    """Whether the core was built."""
    return _core is not None


def serves(program: ConicProgram) -> bool:
    """Whether the core is the fastest way to a guess."""
    if _core is None or program.v.device.type != "cpu":
        return False
    is_polyhedron = program.is_strong and not program.cones
    return 0 < program.v.shape[-1] <= (_MOST_ENTRIES if is_polyhedron else _MOST_ENTRIES_OF_CONES)


def solve(program: ConicProgram) -> tuple[Tensor, Tensor, int]:
    """Return points ``(samples, n)``, duals ``(samples, slacks)`` and the most steps of a sample.

    Samples that the core does not solve have points of any value.
    """
    cones = cone_table(program.cones, program.linear)
    weight, rows, v, lower, upper = (
        t.contiguous() for t in (program.weight, program.rows, program.v, program.lower, program.upper)
    )
    x, y = torch.empty_like(v), torch.empty_like(lower)
    status, steps = (v.new_empty(len(v), dtype=torch.int64) for _ in range(2))
    _, count, entries = rows.shape
    is_shared = rows.shape[0] == 1
    for first in range(0, len(v), _MOST_SAMPLES):
        last = first + _MOST_SAMPLES
        _core.solve(
            len(v[first:last]),
            torch.get_num_threads(),
            entries,
            count,
            program.box,
            program.linear,
            len(cones),
            cones.ctypes.data,
            weight.data_ptr(),
            (rows if is_shared else rows[first:last]).data_ptr(),
            0 if is_shared else count * entries,
            lower.shape[-1],
            *(part[first:last].data_ptr() for part in (lower, upper, v, x, y, status, steps)),
        )
    return x, y, int(steps.max())


@lru_cache(maxsize=1024)
def cone_table(groups: ConeGroups, start: int) -> np.ndarray:
    """Return kind, first slack, dimension and exponent of each cone, as the core reads them."""
    cones = []
    for kind, exponents, count, dimension in groups:
        for k in range(count):
            cones.append((_KINDS[kind], start, dimension, exponents[k] if kind == "pow" else 0.0))
            start += dimension
    return np.array(cones, dtype=_CONE)
