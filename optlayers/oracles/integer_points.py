"""The nearest integer point of a recognised set, ``argmin_x ||x - v||_2`` over its integer points, with no search."""

from __future__ import annotations

import functools
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from optlayers.parametric.range import Range
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.transport_plan import TransportPlan


@functools.singledispatch
def nearest_integer_point(own: Any, v: Tensor) -> Tensor | None:
    """Return the nearest integer point of a closed-form set; None if there is no formula.

    Where a set has no integer point, what is returned is not in it: check the result.

    Parameters
    ----------
    own : ClosedFormSet
    v : Tensor, shape (*batch, n)
    """
    return None


@nearest_integer_point.register
def _(own: Box, v: Tensor) -> Tensor:
    return _clamp(v.round(), *_integer_bounds(own))


@nearest_integer_point.register
def _(own: BoxSection, v: Tensor) -> Tensor | None:
    """Round the projection by largest remainders.

    The distance is separable and convex, so adding units where each costs least is optimal (Gross, "A class of discrete
    type minimization problems", 1956); raising entry `i` to ``x_i + 1`` costs ``2 (x_i - v_i) + 1``. The whole parts
    of the projection onto the fixed total are units of every optimum, and each entry gets at most one more. For
    booleans, that is the `k` largest entries.
    """
    if own.normal is not None:
        return None
    lower, upper = _integer_bounds(own)
    alone = _clamp(v.round(), lower, upper)
    least = None if own.total.lower is None else _ceil(own.total.lower)
    most = None if own.total.upper is None else _floor(own.total.upper)
    total = _clamp(alone.sum(-1), least, most)
    base = BoxSection(None, lower, upper, Range.fixed(total)).project(v).floor()
    if not bool(base.isfinite().all()):
        return None
    cost = base - v if upper is None else torch.where(base < upper, base - v, torch.inf)
    rank = torch.argsort(cost, dim=-1, stable=True).argsort(dim=-1)
    raised = base + (rank < (total - base.sum(-1)).unsqueeze(-1))
    return torch.where((alone.sum(-1) == total).unsqueeze(-1), alone, raised)


@nearest_integer_point.register
def _(own: TransportPlan, v: Tensor) -> Tensor | None:
    """Assign each row to a column: ``||P - V||^2`` is a constant minus ``2 <P, V>``.

    For permutation matrices, and for one entry in each row and at most one in each column, or the converse.
    """
    if own.entry is not None or own.place is not None or not _allows_units(own):
        return None
    rows, columns = own.shape
    full, other = own.rows.bounds[0], own.columns.bounds[0]
    if rows > columns:
        full, other = other, full
    each = rows == columns and bool((other == 1).all())
    if not bool((full == 1).all()) or not (each or bool((other <= 0).all())):
        return None
    scores = v.reshape(-1, rows, columns)
    plans = torch.zeros_like(scores)
    for plan, score in zip(plans, scores.cpu().numpy(), strict=True):
        i, j = linear_sum_assignment(score, maximize=True)
        plan[torch.as_tensor(i, device=v.device), torch.as_tensor(j, device=v.device)] = 1
    return plans.reshape(v.shape)


def _allows_units(own: TransportPlan) -> bool:
    """Return whether each entry may be 0 or 1, nothing below, and no sum more than 1."""
    lower, upper = own.lower, own.upper
    return (
        lower is not None
        and bool(((lower <= 0) & (lower > -1)).all())
        and (upper is None or bool((upper >= 1).all()))
        and bool((own.rows.upper == 1).all())
        and bool((own.columns.upper == 1).all())
    )


def _integer_bounds(own: Box | BoxSection) -> tuple[Tensor | None, Tensor | None]:
    return None if own.lower is None else _ceil(own.lower), None if own.upper is None else _floor(own.upper)


_ROUNDING = 1e-9  # relative: a bound this close to an integer is one


def _ceil(bound: Tensor) -> Tensor:
    return (bound - _ROUNDING * (1 + bound.abs().nan_to_num(posinf=0))).ceil()


def _floor(bound: Tensor) -> Tensor:
    return -_ceil(-bound)


def _clamp(x: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    x = x if lower is None else x.maximum(lower)
    return x if upper is None else x.minimum(upper)
