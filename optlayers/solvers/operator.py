"""The solver as one custom operator, so that it may look at values inside `torch.compile`, `torch.export` and `vmap`.

It has no derivative: `optlayers.differentiation` ties its answer to the inputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, as_samples, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.solvers.core import Samples
from optlayers.solvers.nearest import Nearest
from optlayers.solvers.route import nearest_of_samples
from optlayers.solvers.structure import Structure


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
    """Return `nearest_of_samples` of data that may be traced; `structure` is the code of a `Structure`."""
    tensors = (None if t is None else primal(t) for t in (v, matrix, lower, upper, start))
    return Nearest(*_operator(*tensors, structure, list(constants), relax, precision))


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
    samples = Samples(shape, _flat(v, batch), matrix, _flat(lower, batch), _flat(upper, batch))
    start = None if start is None else _flat(start, batch)
    answer = nearest_of_samples(samples, constants, start, relax=relax, precision=precision)
    parts = (answer.x, answer.y, answer.violation, answer.error, answer.status, answer.steps, answer.shift)
    return tuple(part.reshape(*batch, *part.shape[1:]) for part in parts)


def _flat(tensor: Tensor, batch: torch.Size) -> Tensor:
    return tensor.expand(*batch, tensor.shape[-1]).reshape(batch.numel(), tensor.shape[-1])


def _results(size: int, structure: str, *options: Any) -> list[Result]:
    shape = Structure.decode(structure)
    points, duals, number, count = ((shape.columns,), None), ((shape.slacks,), None), ((), None), ((), torch.int64)
    return [points, duals, number, number, count, count, duals]


_EVENTS = {"v": 1, "matrix": 2, "lower": 1, "upper": 1, "start?": 1}
_OPTIONS = "str structure, Tensor[] constants, bool relax, float precision"
_operator = define("nearest_point", _EVENTS, _nearest_point, _results, _OPTIONS, 7)
