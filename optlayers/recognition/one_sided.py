"""Auxiliary entries above functions with a kink at zero, of entries whose sign is known: there they are linear."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.range import Range
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.bends import add
from optlayers.recognition.block import Block, Row
from optlayers.recognition.epigraphs import read_budget, read_cuts


def without_one_sided(block: Block) -> tuple[Block, None] | None:
    """Return ``{y : sum_i weights_i |y_i| <= level, y >= 0}`` with a linear row; None for another block.

    Presolving does so where the weights are numbers. Those with parameters are not negative, or CVXPY would not call
    the constraint convex.
    """
    n, bounds = block.size, (block.lower, block.upper)
    if not block.auxiliary or block.cones or not block.has_bounds or any(map(_bounds_others, bounds, [n, n])):
        return None
    budget = read_budget(dataclasses.replace(block, upper=None))
    cuts = None if budget is None else read_cuts(block, budget.others)
    if budget is None or cuts is None or not (cuts.slope.is_constant and cuts.offset.is_zero):
        return None
    slope, auxiliary, entry = cuts.slope.constant, cuts.auxiliary[:, 0], cuts.entry
    sign = _is_beyond_zero(block.lower, 1.0, n) - _is_beyond_zero(block.upper, -1.0, n)
    order = np.lexsort((-slope * sign[entry], auxiliary))  # of those above one entry, the steepest comes first
    first = order[np.unique(auxiliary[order], return_index=True)[1]]
    leader = first[np.searchsorted(auxiliary[first], auxiliary)]
    if len(first) < block.auxiliary or (sign[entry] == 0).any() or (entry[leader] != entry).any():
        return None
    matrix = sp.csr_array((slope[first], (entry[first], auxiliary[first])), shape=(n, block.auxiliary))
    normal = add(budget.slopes, budget.weights.mapped(matrix))
    lower, upper = (None if bound is None else bound[:n] for bound in bounds)
    row = Row(normal, Range(None, budget.level), (), tuple(sorted(block.row_sources())))
    visible = block.bounds[:, block.bounds[0] < n]
    return dataclasses.replace(block, auxiliary=0, lower=lower, upper=upper, rows=(row,), bounds=visible), None


def _bounds_others(bound: Data | None, n: int) -> bool:
    """Whether a bound is not affine, or bounds auxiliary entries."""
    if not isinstance(bound, Affine):
        return bound is not None
    return bool((np.isfinite(bound.constant) | bound.is_parametric)[n:].any())


def _is_beyond_zero(bound: Data | None, side: float, n: int) -> np.ndarray:
    """Return 1 for the first entries where they have a numeric bound that is zero or on this side of it, else 0."""
    if not isinstance(bound, Affine):
        return np.zeros(n)
    return 1.0 * ((side * bound.constant >= 0) & ~bound.is_parametric & np.isfinite(bound.constant))[:n]
