"""Which entries and totals hold the projection onto a transport polytope, as a custom operator.

Its loops may look at values inside `torch.compile`, `torch.export` and `vmap`. It has no derivative: the caller writes
the answer as a formula of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, as_samples, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.parametric.range import Range
from optlayers.sets.search.transport_dual import Dual, Totals
from optlayers.sets.search.transport_graph import connect
from optlayers.sets.search.transport_newton import maximise


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
    return TransportFace(*_operator(*(None if t is None else primal(t) for t in tensors)))


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
    batch = batch_shape(tensors, tuple(_EVENTS.values()))
    m, n = v.shape[-2:]
    v = as_samples(v, batch, 2).expand(batch.numel(), m, n)
    lower, upper = (None if t is None else as_samples(t, batch, 2) for t in (lower, upper))
    rows = Totals.of(as_samples(row_lower, batch, 1), as_samples(row_upper, batch, 1))
    columns = Totals.of(as_samples(column_lower, batch, 1), as_samples(column_upper, batch, 1))
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


def _results(m: int, n: int) -> list[Result]:
    index = torch.int64
    return [((m,), None), ((n,), None), ((m, n), None), ((m,), None), ((n,), None), ((m + n + 1,), index), ((), None)]


_EVENTS = {"v": 2, "lower?": 2, "upper?": 2, "row_lower": 1, "row_upper": 1, "column_lower": 1, "column_upper": 1}
_operator = define("transport_face", _EVENTS, _transport_face, _results)
