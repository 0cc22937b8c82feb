"""The compiled core: one sample after the other, on torch's threads, without a tensor in the loop.

It is C++ (folder `csrc`): the dual active-set method for small polyhedra; for all else a homogeneous interior-point
method and Newton's method on the active surfaces, whose factorisation also gives the derivative. What it returns is a
guess like any other: the KKT residual decides, which it computes as `ConicProgram.error` does.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from optlayers.native import compiled as _core
from optlayers.solvers.structure import ConeGroups, Structure

_KINDS = {"soc": 0, "exp": 1, "pow": 2, "psd": 3}
_CONE = np.dtype([("kind", np.int32), ("start", np.int32), ("dimension", np.int32), ("alpha", np.float64)], align=True)
_MOST_ENTRIES = 64  # of polyhedra; larger ones are for batched linear algebra
_MOST_ENTRIES_OF_CONES = 400
_MOST_WORK = 4e6  # samples of polyhedra with one matrix, times the cube of their entries
_MOST_SAMPLES = 512  # of a call, between which the program can be interrupted


def is_available() -> bool:
    """Whether the core was built."""
    return _core is not None


@dataclass(frozen=True, eq=False)
class Samples:
    """Programs of one structure, in the user's units.

    Attributes
    ----------
    structure : Structure
    v : Tensor, shape (samples, size)
    matrix : Tensor, shape (1 or samples, rows, n)
    lower, upper : Tensor, shape (samples, slacks)
    """

    structure: Structure
    v: Tensor
    matrix: Tensor
    lower: Tensor
    upper: Tensor

    def select(self, index: Tensor) -> "Samples":
        """Return some of them."""
        matrix = self.matrix if len(self.matrix) == 1 else self.matrix[index]
        return Samples(self.structure, self.v[index], matrix, self.lower[index], self.upper[index])

    def numbers(self, x: Tensor, y: Tensor) -> list[int]:
        """Return what the core reads of contiguous samples, of points ``(samples, n)`` and of duals."""
        bounded, cones = _tables(self.structure)
        structure, (_, rows, columns) = self.structure, self.matrix.shape
        return [
            len(self.v),
            torch.get_num_threads(),
            structure.size,
            structure.auxiliary,
            len(bounded),
            bounded.ctypes.data,
            structure.linear,
            rows,
            len(cones),
            cones.ctypes.data,
            self.matrix.data_ptr(),
            rows * columns if len(self.matrix) > 1 else 0,
            self.lower.data_ptr(),
            self.upper.data_ptr(),
            structure.slacks,
            self.v.data_ptr(),
            x.data_ptr(),
            y.data_ptr(),
        ]

    def contiguous(self) -> "Samples":
        """Return the same, without derivatives, as the core can read them."""
        parts = (t.detach().contiguous() for t in (self.v, self.matrix, self.lower, self.upper))
        return Samples(self.structure, *parts)

    def split(self) -> "list[tuple[slice, Samples]]":
        """Return parts, between which the program can be interrupted, and where they stand."""
        if len(self.v) <= _MOST_SAMPLES:
            return [(slice(0, len(self.v)), self)]
        result = []
        for first in range(0, len(self.v), _MOST_SAMPLES):
            part = slice(first, first + _MOST_SAMPLES)
            matrix = self.matrix if len(self.matrix) == 1 else self.matrix[part]
            result.append((part, Samples(self.structure, self.v[part], matrix, self.lower[part], self.upper[part])))
        return result


def serves(samples: Samples) -> bool:
    """Whether the core is the fastest way to answers; large batches of larger polyhedra are for batched algebra."""
    structure, n = samples.structure, samples.structure.columns
    if _core is None or samples.v.device.type != "cpu" or n == 0:
        return False
    if structure.auxiliary or structure.cones:
        return n <= _MOST_ENTRIES_OF_CONES
    return n <= _MOST_ENTRIES and (len(samples.matrix) > 1 or len(samples.v) * n**3 <= _MOST_WORK)


def project(samples: Samples, start: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return points ``(samples, n)``, duals ``(samples, slacks)``, relative KKT residuals, violations and steps.

    `start` are duals and then points of nearby programs, ``(samples, slacks + n)``, NaN where there are none. Samples
    that the core does not solve have points of any value, and large residuals.
    """
    samples = samples.contiguous()
    v, count = samples.v, len(samples.v)
    x, y = v.new_empty(count, samples.structure.columns), torch.empty_like(samples.lower)
    error, violation, steps = v.new_empty(count), v.new_empty(count), v.new_empty(count, dtype=torch.int64)
    start = None if start is None else start.contiguous()
    for part, some in samples.split():
        addresses = [0 if t is None else t[part].data_ptr() for t in (start, error, violation, steps)]
        _core.project(*some.numbers(x[part], y[part]), *addresses)
    return x, y, error, violation, steps


def pull(
    samples: Samples, x: Tensor, y: Tensor, gradient: Tensor, *, wants_matrix: bool, wants_bounds: bool
) -> tuple[list[Tensor | None], bool]:
    """Return what gradients in the points make of ``v``, ``matrix``, ``lower`` and ``upper``; see `Samples`.

    Parameters
    ----------
    x, y : Tensor
        Solutions that `project` found.
    gradient : Tensor, shape (samples, n)
    wants_matrix, wants_bounds : bool
        Whether those of the matrix and of the bounds are wanted; else they are None.

    Returns
    -------
    list of (Tensor or None)
        The gradients.
    bool
        Whether they are known of all samples.
    """
    samples = samples.contiguous()
    gradient, count = gradient.contiguous(), len(x)
    of_v, failed = torch.empty_like(samples.v), x.new_empty(count, dtype=torch.int64)
    of_matrix = x.new_empty(count, *samples.matrix.shape[1:]) if wants_matrix else None
    of_lower, of_upper = (torch.empty_like(y) if wants_bounds else None for _ in range(2))
    for part, some in samples.split():
        addresses = [
            0 if t is None else t[part].data_ptr() for t in (gradient, of_v, of_matrix, of_lower, of_upper, failed)
        ]
        _core.pull(*some.numbers(x[part], y[part]), *addresses)
    if of_matrix is not None and len(samples.matrix) == 1:
        of_matrix = of_matrix.sum(0, keepdim=True)
    return [of_v, of_matrix, of_lower, of_upper], not bool(failed.any())


@lru_cache(maxsize=1024)
def _tables(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries with a bound, and the cones, as the core reads them."""
    first = (structure.columns if structure.bounded else 0) + structure.linear
    return np.array(structure.bounded, dtype=np.int64), cone_table(structure.cones, first)


def cone_table(groups: ConeGroups, start: int) -> np.ndarray:
    """Return kind, first slack, dimension and exponent of each cone."""
    cones = []
    for kind, exponents, count, dimension in groups:
        for k in range(count):
            cones.append((_KINDS[kind], start, dimension, exponents[k] if kind == "pow" else 0.0))
            start += dimension
    return np.array(cones, dtype=_CONE)
