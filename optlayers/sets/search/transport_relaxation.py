"""Totals of empty transport polytopes that give way as little as possible."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced
from optlayers.sets.search.clamp import clamp
from optlayers.sets.search.transport_search import find_face

_MOST_ROUNDS = 50
_SETTLED = 1e-12  # change of the matrix, relative to the totals, after which it is near enough
_MISSED = 1e-9  # by how much a total is missed for it to give way, relative to the totals


def least_violating_sums(
    lower: Tensor | None,
    upper: Tensor | None,
    row_lower: Tensor,
    row_upper: Tensor,
    column_lower: Tensor,
    column_upper: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the sums of a matrix within its bounds that misses the totals least, without derivatives.

    The least-squares problem is solved by the proximal point method, whose steps are projections onto a transport
    polytope with one more row and column, for what the sums miss.

    Parameters
    ----------
    lower, upper : Tensor, shape (*batch, m, n), or None
    row_lower, row_upper : Tensor, shape (*batch, m)
    column_lower, column_upper : Tensor, shape (*batch, n)

    Returns
    -------
    tuple of Tensor, shape (*batch, m), (*batch, n)
    """
    m, n = row_lower.shape[-1], column_lower.shape[-1]
    low, high = (
        _framed(row_lower.new_full((m, n), absent) if t is None else primal(t), absent)
        for t, absent in ((lower, -torch.inf), (upper, torch.inf))
    )
    given = [primal(t) for t in (row_lower, row_upper, column_lower, column_upper)]
    totals = [pad(t, (0, 1), value=sign * torch.inf) for t, sign in zip(given, (-1, 1, -1, 1), strict=True)]
    size = torch.stack([finite(t).amax() for t in given]).amax()
    y = torch.zeros_like(low).maximum(low).minimum(high)
    for _ in range(_MOST_ROUNDS):
        point = _framed(y[..., :-1, :-1], 0.0)
        face = find_face(point, low, high, *totals)
        y = clamp(point - face.a.unsqueeze(-1) - face.b.unsqueeze(-2), low, high)
        if not is_traced() and bool((y - point)[..., :-1, :-1].abs().amax() <= _SETTLED * size):
            break
    inside = y[..., :-1, :-1]
    return inside.sum(-1), inside.sum(-2)


def give_way(empty: Tensor, sums: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds on totals that the sums keep, where a sample is empty, ``(*batch, 1)``, else those that are given.

    A total that is missed becomes the sum.
    """
    size = _MISSED * torch.maximum(finite(lower), finite(upper)).amax(-1, keepdim=True).clamp_min(1.0)
    exact = (sums < lower - size) | (sums > upper + size) | (lower == upper)
    low = torch.where(empty, torch.where(exact, sums, lower.minimum(sums)), lower)
    if lower is upper:
        return low, low
    return low, torch.where(empty, torch.where(exact, sums, upper.maximum(sums)), upper)


def uncrossed(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds that meet in the middle where they crossed."""
    if lower is upper:
        return lower, upper
    middle, crossed = (lower + upper) / 2, lower > upper
    return torch.where(crossed, middle, lower), torch.where(crossed, middle, upper)


def finite(tensor: Tensor) -> Tensor:
    """Return the size of numbers, zero for those that are infinite."""
    return torch.where(tensor.isfinite(), tensor.abs(), 0.0)


def _framed(matrix: Tensor, value: float) -> Tensor:
    """Append a row and a column; their common entry is zero."""
    framed = pad(matrix, (0, 1, 0, 1), value=value)
    corner = torch.zeros_like(framed, dtype=torch.bool)
    corner[..., -1, -1] = True
    return torch.where(corner, 0.0, framed)
