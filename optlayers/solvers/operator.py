"""The solver as one custom operator, so that it may look at values inside `torch.compile`, `torch.export` and `vmap`.

It has no derivative: `optlayers.differentiation` ties its answer to the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, library

from optlayers.autograd.primal import primal
from optlayers.solvers.formulation import Formulation
from optlayers.solvers.geometry import Geometry, Reduction
from optlayers.solvers.nearest import Nearest, nearest
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.structure import Structure

_NAME = "optlayers::nearest_point"
_OUTPUTS = ("x", "y", "violation", "error", "status", "steps", "shift")
_SPLITTING, _REDUCTION = len(fields(SplittingMap)), len(fields(Reduction))


def nearest_point(
    structure: str,
    constants: Sequence[Tensor],
    v: Tensor,
    matrix: Tensor,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None = None,
    *,
    relax: bool = False,
    precision: float = 0.0,
) -> Nearest:
    """Return `nearest` of data that may be traced; arguments as for `Formulation.of`.

    Parameters
    ----------
    structure : str
        The code of a `Structure`.
    constants : sequence of Tensor
        `pack_constants` of a constant matrix, or empty.
    start, relax, precision
        As for `nearest`.
    """
    tensors = (primal(v), primal(matrix), primal(lower), primal(upper), None if start is None else primal(start))
    outputs = torch.ops.optlayers.nearest_point(structure, list(constants), *tensors, relax, precision)
    return Nearest(*outputs)


def pack_constants(geometry: Geometry, splitting: SplittingMap | None) -> list[Tensor]:
    """Return a geometry and a splitting map as a list of tensors."""
    return [geometry.norms, geometry.rows, *_tensors(splitting), *_tensors(geometry.reduction)]


def _tensors(part: SplittingMap | Reduction | None) -> list[Tensor]:
    return [] if part is None else [getattr(part, field.name) for field in fields(part)]


def unpack_constants(constants: Sequence[Tensor]) -> tuple[Geometry | None, SplittingMap | None]:
    """Undo `pack_constants`; which parts there are shows in their number."""
    if not constants:
        return None, None
    norms, rows, *others = constants
    first, last = _SPLITTING, _REDUCTION
    splitting = SplittingMap(*others[:first]) if len(others) in (first, first + last) else None
    reduction = Reduction(*others[-last:]) if len(others) in (last, first + last) else None
    return Geometry(norms, rows, reduction), splitting


def _nearest_point(structure: str, constants: list[Tensor], v: Tensor, *others: Any) -> tuple[Tensor, ...]:
    matrix, lower, upper, start, relax, precision = others
    shape = Structure.decode(structure)
    geometry, splitting = unpack_constants(constants)
    if geometry is None and matrix.shape[0] == 1:  # one matrix for all samples, though not a constant
        geometry = Geometry.of(matrix[0], shape)
        splitting = SplittingMap.of(geometry, shape)
    formulation = Formulation.of(shape, geometry, matrix, lower, upper, v)
    answer = nearest(formulation, splitting, start, relax=relax, precision=precision)
    return tuple(getattr(answer, name) for name in _OUTPUTS)


def _fake_nearest_point(structure: str, constants: list[Tensor], v: Tensor, *others: Any) -> tuple[Tensor, ...]:
    samples, shape = v.shape[0], Structure.decode(structure)
    y, number, count = v.new_empty(samples, shape.slacks), v.new_empty(samples), v.new_empty(samples, dtype=torch.int64)
    outputs = v.new_empty(samples, shape.columns), y, number, number, count, count, y
    return tuple(torch.empty_like(output) for output in outputs)


def _map_nearest_point(
    info: Any, dims: tuple[Any, ...], structure: str, constants: list[Tensor], *others: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Flatten the mapped dimension into the samples; a matrix that all samples share is repeated only where mapped."""
    count = info.batch_size
    v, matrix, lower, upper, start, relax, precision = others

    def flat(tensor: Tensor, dim: int | None, samples: int | None = None) -> Tensor:
        tensor = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        tensor = tensor if samples is None else tensor.expand(count, samples, *tensor.shape[2:])
        return tensor.reshape(tensor.shape[0] * tensor.shape[1], *tensor.shape[2:])

    points = flat(v, dims[2])
    if dims[3] is not None or matrix.shape[0] > 1:
        matrix = flat(matrix, dims[3], points.shape[0] // count)
    outputs = torch.ops.optlayers.nearest_point(
        structure,
        constants,
        points,
        matrix,
        flat(lower, dims[4]),
        flat(upper, dims[5]),
        None if start is None else flat(start, dims[6]),
        relax,
        precision,
    )
    return tuple(t.reshape(count, t.shape[0] // count, *t.shape[1:]) for t in outputs), (0,) * len(outputs)


library.define(
    _NAME,
    "(str structure, Tensor[] constants, Tensor v, Tensor matrix, Tensor lower, Tensor upper, Tensor? start, "
    "bool relax, float precision) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
library.impl(_NAME, "default", _nearest_point)
library.register_fake(_NAME, _fake_nearest_point)
library.register_vmap(_NAME, _map_nearest_point)
