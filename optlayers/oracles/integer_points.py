"""The nearest integer point of a recognised set, ``argmin_x ||x - v||_2`` over its integer points, with no search."""

import torch
from torch import Tensor

from optlayers.oracles.assignment import cheapest_assignment
from optlayers.oracles.oracle import Oracle
from optlayers.parametric.range import Range
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.transport_plan import TransportPlan

_ROUNDING = 1e-9  # relative: a bound this close to an integer is one

nearest_integer_point = Oracle("nearest integer point of")
"""Asked of a point ``(*batch, n)``. Where a set has no integer point, the answer is not in it: check the result."""


@nearest_integer_point.register(Box)
def _(box: Box, v: Tensor) -> Tensor:
    return _integers(Range(box.lower, box.upper)).clamp(v.round())


@nearest_integer_point.register(BoxSection)
def _(section: BoxSection, v: Tensor) -> Tensor | None:
    """Round the projection by largest remainders.

    The distance is separable and convex, so adding units where each costs least is optimal (Gross, "A class of discrete
    type minimization problems", 1956); raising entry `i` to ``x_i + 1`` costs ``2 (x_i - v_i) + 1``. The whole parts
    of the projection onto the fixed total are units of every optimum, and each entry gets at most one more. For
    booleans, that is the `k` largest entries.
    """
    if section.normal is not None:
        return None
    entries = _integers(Range(section.lower, section.upper))
    rounded = entries.clamp(v.round())
    total = _integers(section.total).clamp(rounded.sum(-1))
    base = BoxSection(None, entries.lower, entries.upper, Range.fixed(total)).project(v).floor()
    if not bool(base.isfinite().all()):
        return None
    cost = base - v if entries.upper is None else torch.where(base < entries.upper, base - v, torch.inf)
    rank = torch.argsort(cost, dim=-1, stable=True).argsort(dim=-1)
    raised = base + (rank < (total - base.sum(-1)).unsqueeze(-1))
    return torch.where((rounded.sum(-1) == total).unsqueeze(-1), rounded, raised)


@nearest_integer_point.register(TransportPlan)
def _(plan: TransportPlan, v: Tensor) -> Tensor | None:
    """Assign each row to a column: ``||P - V||^2`` is a constant minus ``2 <P, V>``.

    For permutation matrices, and for one entry in each row and at most one in each column, or the converse.
    """
    rows, columns = plan.shape
    shorter, longer = (plan.rows, plan.columns) if rows <= columns else (plan.columns, plan.rows)
    lower, upper = plan.lower, plan.upper
    if plan.entry is not None or lower is None:
        return None
    holds = [
        ((lower <= 0) & (lower > -1)).all(),
        *((bound == 1).all() for bound in (*shorter.bounds, longer.bounds[-1])),
        (longer.bounds[0] <= 0).all() | ((longer.bounds[0] == 1).all() & (rows == columns)),
        *([] if upper is None else [(upper >= 1).all()]),
    ]
    if not bool(torch.stack(holds).all()):
        return None
    return cheapest_assignment(-v.unflatten(-1, (rows, columns))).flatten(-2)


def _integers(bounds: Range[Tensor]) -> Range[Tensor]:
    """Return the integers in a range; none may be left."""
    lower, upper = bounds.lower, bounds.upper
    return Range(None if lower is None else _ceil(lower), None if upper is None else -_ceil(-upper))


def _ceil(bound: Tensor) -> Tensor:
    return (bound - _ROUNDING * (1 + bound.abs().nan_to_num(posinf=0))).ceil()
