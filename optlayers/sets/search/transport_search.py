"""Which entries and totals hold the projection onto a transport polytope, as a custom operator.

Its loops may look at values inside `torch.compile`, `torch.export` and `vmap`. It has no derivative: the caller writes
the answer as a formula of its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, as_samples, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.parametric.range import Range
from optlayers.sets.search.section_search import free_mask
from optlayers.sets.search.transport_dual import Dual
from optlayers.sets.search.transport_graph import connect
from optlayers.sets.search.transport_newton import maximise


@dataclass(frozen=True, eq=False)
class TransportFace:
    """The face on which a projection lies.

    Totals have the multipliers `a` and `b`. `free` is 1 for entries strictly between their bounds, and for those that
    would be next where the free ones leave the totals no way to change; `rows` and `columns` are 1 for totals at a
    bound; else 0. `label`, ``(*batch, m + n + 1)``, is the component of the graph of free entries that each total
    belongs to, the last one that of loose totals. The totals are missed by `missed`, ``(*batch,)``: by more than
    rounding only where the polytope is empty.
    """

    a: Tensor
    b: Tensor
    free: Tensor
    rows: Tensor
    columns: Tensor
    label: Tensor
    missed: Tensor


def find_face(v: Tensor, lower: Tensor, upper: Tensor, rows: Range[Tensor], columns: Range[Tensor]) -> TransportFace:
    """Return the face, with no derivative; `v` and its bounds are matrices, those of the totals not None."""
    tensors = (v, lower, upper, rows.lower, rows.upper, columns.lower, columns.upper)
    return TransportFace(*_operator(*(None if t is None else primal(t) for t in tensors)))


def _transport_face(*tensors: Tensor) -> tuple[Tensor, ...]:
    v = tensors[0]
    batch = batch_shape(tensors, tuple(_EVENTS.values()))
    v = as_samples(v, batch, 2).expand(batch.numel(), *v.shape[-2:])
    lower, upper = (as_samples(t, batch, 2) for t in tensors[1:3])
    row_lower, row_upper, column_lower, column_upper = (as_samples(t, batch, 1) for t in tensors[3:])
    rows, columns = (row_lower, row_upper), (column_lower, column_upper)
    dual = Dual.of(v, lower, upper, rows, columns)
    a, b = maximise(dual) if v.shape[-1] <= v.shape[-2] else reversed(maximise(dual.mT))
    x = v - a.unsqueeze(-1) - b.unsqueeze(-2)
    y = torch.clamp(x, lower, upper)
    (missed_rows, loose_rows), (missed_columns, loose_columns) = (
        _compare(y.sum(dim), multiplier, *bounds) for dim, multiplier, bounds in ((-1, a, rows), (-2, b, columns))
    )
    free, label = connect(
        free_mask(y, lower, upper) > 0, (x - y).abs(), (lower < upper).expand_as(y), loose_rows, loose_columns
    )
    numbers = (t.to(v.dtype) for t in (free, ~loose_rows, ~loose_columns))
    results = (a, b, *numbers, label, torch.maximum(missed_rows, missed_columns))
    return tuple(t.reshape(*batch, *t.shape[1:]) for t in results)


def _compare(total: Tensor, multiplier: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the sums of each sample are outside their bounds, and which of them no bound holds."""
    missed = (total - total.maximum(low).minimum(high)).abs().amax(-1)
    return missed, (multiplier == 0) & (low < total) & (total < high)


def _results(m: int, n: int) -> list[Result]:
    index = torch.int64
    return [((m,), None), ((n,), None), ((m, n), None), ((m,), None), ((n,), None), ((m + n + 1,), index), ((), None)]


_EVENTS = {"v": 2, "lower": 2, "upper": 2, "row_lower": 1, "row_upper": 1, "column_lower": 1, "column_upper": 1}
_operator = define("transport_face", _EVENTS, _transport_face, _results)
