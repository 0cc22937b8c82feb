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
) -> Nearest:
    """Return `nearest` of data that may be traced; arguments as for `Formulation.of`.

    Parameters
    ----------
    structure : str
        The code of a `Structure`.
    constants : sequence of Tensor
        `pack_constants` of a constant matrix, or empty.
    start, relax
        As for `nearest`.
    """
    tensors = (primal(v), primal(matrix), primal(lower), primal(upper), None if start is None else primal(start))
    outputs = torch.ops.optlayers.nearest_point(structure, list(constants), *tensors, relax)
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


@torch.no_grad()
def _nearest_point(
    structure: str,
    constants: list[Tensor],
    v: Tensor,
    matrix: Tensor,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None,
    relax: bool,
) -> tuple[Tensor, ...]:
    geometry, splitting = unpack_constants(constants)
    shape = Structure.decode(structure)
    if geometry is None and matrix.shape[0] == 1 and v.shape[0] > 1:
        geometry = Geometry.of(matrix[0], shape)
        splitting = SplittingMap.of(geometry, shape)
    found = nearest(Formulation.of(shape, geometry, matrix, lower, upper, v), splitting, start, relax=relax)
    return found.x, found.y, found.violation, found.status, found.steps, found.shift


def _fake_nearest_point(
    structure: str,
    constants: list[Tensor],
    v: Tensor,
    matrix: Tensor,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None,
    relax: bool,
) -> tuple[Tensor, ...]:
    samples, shape = v.shape[0], Structure.decode(structure)
    status = torch.empty(samples, dtype=torch.int64, device=v.device)
    return (
        v.new_empty(samples, shape.columns),
        v.new_empty(samples, shape.slacks),
        v.new_empty(samples),
        status,
        torch.empty_like(status),
        v.new_empty(samples, shape.slacks),
    )


def _map_nearest_point(
    info: Any,
    dims: tuple[Any, ...],
    structure: str,
    constants: list[Tensor],
    v: Tensor,
    matrix: Tensor,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None,
    relax: bool,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    count = info.batch_size

    def flat(tensor: Tensor, dim: int | None) -> Tensor:
        tensor = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return tensor.reshape(tensor.shape[0] * tensor.shape[1], *tensor.shape[2:])

    if dims[3] is not None:
        samples = flat(v, dims[2]).shape[0] // count
        moved = matrix.movedim(dims[3], 0)
        matrix = moved.expand(count, samples, *moved.shape[2:]).reshape(count * samples, *moved.shape[2:])
    elif matrix.shape[0] > 1:
        matrix = flat(matrix, None)
    outputs = torch.ops.optlayers.nearest_point(
        structure,
        constants,
        flat(v, dims[2]),
        matrix,
        flat(lower, dims[4]),
        flat(upper, dims[5]),
        None if start is None else flat(start, dims[6]),
        relax,
    )
    return tuple(t.reshape(count, t.shape[0] // count, *t.shape[1:]) for t in outputs), (0,) * len(outputs)


library.define(
    _NAME,
    "(str structure, Tensor[] constants, Tensor v, Tensor matrix, Tensor lower, Tensor upper, Tensor? start, "
    "bool relax) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
library.impl(_NAME, "default", _nearest_point)
library.register_fake(_NAME, _fake_nearest_point)
library.register_vmap(_NAME, _map_nearest_point)
