"""Which entries and totals hold the projection onto a transport polytope, as a custom operator.

Its loops may look at values inside `torch.compile`, `torch.export` and `vmap`. It has no derivative: the caller writes
the answer as a formula of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, library

from optlayers.autograd.batched_operator import front
from optlayers.autograd.primal import primal
from optlayers.parametric.range import Range
from optlayers.sets.search.transport_dual import Dual, Totals
from optlayers.sets.search.transport_graph import connect
from optlayers.sets.search.transport_newton import maximise

_NAME = "optlayers::transport_face"
_EVENTS = (2, 2, 2, 1, 1, 1, 1)  # dimensions of the arguments besides those of the batch


@dataclass(frozen=True, eq=False)
class TransportFace:
    """The face on which a projection lies.

    Attributes
    ----------
    a, b : Tensor, shape (*batch, m), (*batch, n)
        The multipliers of the totals.
    free : Tensor, shape (*batch, m, n)
        1 for entries strictly between their bounds, and for those that would be next where the free ones leave the
        totals no way to change; else 0.
    rows, columns : Tensor, shape (*batch, m), (*batch, n)
        1 for totals at a bound, else 0.
    label : Tensor of int, shape (*batch, m + n + 1)
        The component of the graph of free entries that each total belongs to; the last one is that of loose totals.
    missed : Tensor, shape (*batch,)
        By how much the totals are missed: more than rounding only where the polytope is empty.
    """

    a: Tensor
    b: Tensor
    free: Tensor
    rows: Tensor
    columns: Tensor
    label: Tensor
    missed: Tensor


def find_face(
    v: Tensor,
    lower: Tensor | None,
    upper: Tensor | None,
    rows: Range[Tensor],
    columns: Range[Tensor],
) -> TransportFace:
    """Return the face, with no derivative.

    Parameters
    ----------
    v : Tensor, shape (*batch, m, n)
    lower, upper : Tensor, shape (*batch, m, n), or None
    rows, columns : Range of Tensor, shape (*batch, m), (*batch, n)
    """
    tensors = (v, lower, upper, rows.lower, rows.upper, columns.lower, columns.upper)
    return TransportFace(*torch.ops.optlayers.transport_face(*(None if t is None else primal(t) for t in tensors)))


def _transport_face(
    v: Tensor,
    lower: Tensor | None,
    upper: Tensor | None,
    row_lower: Tensor,
    row_upper: Tensor,
    column_lower: Tensor,
    column_upper: Tensor,
) -> tuple[Tensor, ...]:
    tensors = (v, lower, upper, row_lower, row_upper, column_lower, column_upper)
    batch = _batch(tensors)
    m, n = v.shape[-2:]
    if math.prod(batch) == 0:
        return _fake_transport_face(*tensors)
    v = _flat(v, batch, 2).expand(math.prod(batch), m, n)
    lower, upper = (None if t is None else _flat(t, batch, 2) for t in (lower, upper))
    rows = Totals.of(_flat(row_lower, batch, 1), _flat(row_upper, batch, 1))
    columns = Totals.of(_flat(column_lower, batch, 1), _flat(column_upper, batch, 1))
    dual = Dual(v, lower, upper, *Totals.balanced(rows, columns))
    a, b = maximise(dual) if n <= m else reversed(maximise(dual.mT))
    x = v - a.unsqueeze(-1) - b.unsqueeze(-2)
    y = dual.clamp(x)
    free = dual.free(y) > 0
    movable = torch.ones_like(free) if lower is None or upper is None else (lower < upper).expand_as(free)
    missed = torch.maximum(rows.missed(y.sum(-1)), columns.missed(y.sum(-2)))
    held = rows.hold(y.sum(-1), a), columns.hold(y.sum(-2), b)
    free, label = connect(free, (x - y).abs(), movable, *(~side for side in held))
    results = (a, b, free.to(v.dtype), *(side.to(v.dtype) for side in held), label, missed)
    return tuple(t.reshape(*batch, *t.shape[1:]) for t in results)


def _fake_transport_face(v: Tensor, *data: Tensor | None) -> tuple[Tensor, ...]:
    batch = _batch((v, *data))
    m, n = v.shape[-2:]
    events = ((m,), (n,), (m, n), (m,), (n,), (m + n + 1,), ())
    return tuple(
        v.new_empty((*batch, *event), dtype=torch.int64 if k == 5 else v.dtype) for k, event in enumerate(events)
    )


def _batch(tensors: tuple[Tensor | None, ...]) -> torch.Size:
    shapes = [t.shape[: t.ndim - event] for t, event in zip(tensors, _EVENTS, strict=True) if t is not None]
    return torch.broadcast_shapes(*shapes)


def _flat(tensor: Tensor, batch: torch.Size, event: int) -> Tensor:
    """Return ``(samples, *event)``, with one sample where the tensor has no batch of its own."""
    own = tensor.shape[tensor.ndim - event :]
    is_shared = math.prod(tensor.shape[: tensor.ndim - event]) == 1
    return tensor.reshape(1, *own) if is_shared else tensor.expand(*batch, *own).reshape(-1, *own)


def _map_transport_face(
    info: Any, dims: tuple[int | None, ...], *tensors: Tensor | None
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    results = torch.ops.optlayers.transport_face(*front(dims, tensors, _EVENTS))
    return results, (0,) * len(results)


library.define(
    _NAME,
    "(Tensor v, Tensor? lower, Tensor? upper, Tensor row_lower, Tensor row_upper, Tensor column_lower, "
    "Tensor column_upper) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
library.impl(_NAME, "default", _transport_face)
library.register_fake(_NAME, _fake_transport_face)
library.register_vmap(_NAME, _map_transport_face)
