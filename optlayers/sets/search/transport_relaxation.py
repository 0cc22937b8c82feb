"""Totals of empty transport polytopes that give way as little as possible."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced
from optlayers.parametric.range import Range, clamp
from optlayers.sets.search.transport_search import find_face

_MOST_ROUNDS = 50
_SETTLED = 1e-12  # change of the matrix, relative to the totals, after which it is near enough
_MISSED = 1e-9  # by how much a total is missed for it to give way, relative to the totals


def least_violating_sums(
    lower: Tensor, upper: Tensor, rows: Range[Tensor], columns: Range[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the sums of a matrix within its bounds that misses the totals least, without derivatives.

    The least-squares problem is solved by the proximal point method, whose steps are projections onto a transport
    polytope with one more row and column, for what the sums miss.
    """
    low, high = (_framed(primal(t), absent) for t, absent in ((lower, -torch.inf), (upper, torch.inf)))
    size = torch.stack([finite(primal(t)).amax() for t in (*rows.bounds, *columns.bounds)]).amax()
    totals = _with_free_total(rows), _with_free_total(columns)
    y = torch.clamp(torch.zeros_like(low), low, high)
    for _ in range(_MOST_ROUNDS):
        point = _framed(y[..., :-1, :-1], 0.0)
        face = find_face(point, low, high, *totals)
        y = clamp(point - face.a.unsqueeze(-1) - face.b.unsqueeze(-2), low, high)
        if not is_traced() and bool((y - point)[..., :-1, :-1].abs().amax() <= _SETTLED * size):
            break
    inside = y[..., :-1, :-1]
    return inside.sum(-1), inside.sum(-2)


def give_way(empty: Tensor, sums: Tensor, totals: Range[Tensor]) -> Range[Tensor]:
    """Return ranges of totals that the sums keep, where a sample is empty, ``(*batch, 1)``, else those that are given.

    A total that is missed becomes the sum.
    """
    if totals.is_fixed:
        return totals.replaced(empty, sums)
    lower, upper = totals.bounds
    size = _MISSED * torch.maximum(finite(lower), finite(upper)).amax(-1, keepdim=True).clamp_min(1.0)
    exact = (sums < lower - size) | (sums > upper + size) | (lower == upper)
    low, high = torch.where(exact, sums, lower.minimum(sums)), torch.where(exact, sums, upper.maximum(sums))
    return Range(torch.where(empty, low, lower), torch.where(empty, high, upper))


def _with_free_total(totals: Range[Tensor]) -> Range[Tensor]:
    """Append one total without bounds."""
    lower, upper = totals.bounds[0], totals.bounds[-1]
    return Range(pad(primal(lower), (0, 1), value=-torch.inf), pad(primal(upper), (0, 1), value=torch.inf))


def finite(tensor: Tensor) -> Tensor:
    """Return the size of numbers, zero for those that are infinite."""
    return torch.where(tensor.isfinite(), tensor.abs(), 0.0)


def _framed(matrix: Tensor, value: float) -> Tensor:
    """Append a row and a column; their common entry is zero."""
    framed = pad(matrix, (0, 1, 0, 1), value=value)
    framed[..., -1, -1] = 0.0
    return framed
