"""The solver as one custom operator, so that it may look at values inside `torch.compile`, `torch.export` and `vmap`.

It has no derivative: `optlayers.differentiation` ties its answer to the inputs.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, as_samples, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.solvers.formulation import Bounds, Formulation
from optlayers.solvers.geometry import Geometry, Reduction, row_norms
from optlayers.solvers.nearest import Nearest, nearest
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.structure import Structure

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
    """Return `nearest` of data that may be traced; arguments as for it and `Formulation.of`.

    The code of a `Structure` and `pack_constants` of a constant matrix, or nothing, say what does not change.
    """
    tensors = (None if t is None else primal(t) for t in (v, matrix, lower, upper, start))
    return Nearest(*_operator(*tensors, structure, list(constants), relax, precision))


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


def _nearest_point(
    v: Tensor,
    matrix: Tensor,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None,
    structure: str,
    constants: list[Tensor],
    relax: bool,
    precision: float,
) -> tuple[Tensor, ...]:
    batch, shape = batch_shape((v, matrix, lower, upper, start), tuple(_EVENTS.values())), Structure.decode(structure)
    matrix = as_samples(matrix, batch, 2)  # repeated only where it is mapped
    geometry, splitting = unpack_constants(constants)
    if geometry is None and matrix.shape[0] == 1:  # one matrix for all samples, though not a constant
        geometry = Geometry.of(matrix[0], shape)
        splitting = SplittingMap.of(geometry, shape)
    points, lower, upper = (_flat(t, batch) for t in (v, lower, upper))
    geometry = geometry or Geometry.unreduced(matrix, row_norms(matrix, shape))
    formulation = Formulation.of(shape, geometry, Bounds.of(shape, geometry, lower, upper), points)
    start = None if start is None else _flat(start, batch)
    answer = nearest(formulation, splitting, start, relax=relax, precision=precision)
    parts = (answer.x, answer.y, answer.violation, answer.error, answer.status, answer.steps, answer.shift)
    return tuple(part.reshape(*batch, *part.shape[1:]) for part in parts)


def _flat(tensor: Tensor, batch: torch.Size) -> Tensor:
    return tensor.expand(*batch, tensor.shape[-1]).reshape(-1, tensor.shape[-1])


def _results(size: int, structure: str, *options: Any) -> list[Result]:
    shape = Structure.decode(structure)
    points, duals, number, count = ((shape.columns,), None), ((shape.slacks,), None), ((), None), ((), torch.int64)
    return [points, duals, number, number, count, count, duals]


_EVENTS = {"v": 1, "matrix": 2, "lower": 1, "upper": 1, "start?": 1}
_OPTIONS = "str structure, Tensor[] constants, bool relax, float precision"
_operator = define("nearest_point", _EVENTS, _nearest_point, _results, _OPTIONS, 7)
