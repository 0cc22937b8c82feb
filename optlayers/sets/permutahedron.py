"""Permutahedra: the mixtures of all orders of some numbers."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.sparse import entries_of, is_permutation
from optlayers.parametric.symbolic import Affine, as_number, concatenate
from optlayers.recognition.bends import add
from optlayers.recognition.block import Block, Fields, Row, Vectors
from optlayers.recognition.mixtures import read_mixture
from optlayers.sets.base import ClosedFormSet, Examples, register
from optlayers.sets.search.pool_adjacent import isotonic_means
from optlayers.sets.sum_largest import SumLargest

_TOLERANCE = 1e-11
_MOST_ENTRIES = 200  # n of them need n^2 auxiliary entries


@register
@dataclass(frozen=True, eq=False)
class Permutahedron(ClosedFormSet):
    """``{y : y - center is majorised by weights}``, the convex hull of all orders of the weights around a centre.

    For each j, the j largest entries of ``y - center`` have at most the sum of the j largest weights, and all of them
    just the same sum. In sorted order, `v` moves by the isotonic regression of its gap to the weights (Lim and Wright,
    "Efficient Bregman projections onto the permutahedron and related polytopes", 2016).

    Attributes
    ----------
    center : Tensor, shape (*batch, n), or None
        None for zero.
    weights : Tensor, shape (*batch, n)
        In any order.
    """

    name = "permutahedron"
    center: Tensor | None
    weights: Tensor

    @staticmethod
    def constraints(x: cp.Variable, weights: Any, center: Any = 0.0) -> list[cp.Constraint]:
        y, sums = cp.vec(x - center, order="C"), np.cumsum(np.sort(np.ravel(weights))[::-1])
        return [cp.sum(y) == sums[-1], *(cp.sum_largest(y, j + 1) <= sums[j] for j in range(len(sums) - 1))]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if block.cones or not 0 < block.auxiliary <= _MOST_ENTRIES**2 or block.size > _MOST_ENTRIES:
            return None
        mixture = read_mixture(block)
        if mixture is not None:
            return {"center": None if mixture.center.is_zero else mixture.center, "weights": mixture.weights}
        return _match_sums(block)

    def project(self, v: Tensor) -> Tensor:
        """Sort, and pool the gaps to the sorted weights; equal entries take the derivative of one block."""
        u = v if self.center is None else v - self.center
        ordered, order = u.sort(-1)
        weights = self.weights.sort(-1).values
        ordered = _narrowed(primal(ordered), primal(weights)) + (ordered - primal(ordered))
        gap = ordered - weights
        moved = (ordered - isotonic_means(gap)).gather(-1, order.argsort(-1).expand(gap.shape))
        return moved if self.center is None else moved + self.center

    @staticmethod
    def examples() -> Examples:
        center = np.array([0.5, -1.0, 0.0, 2.0])
        yield {"size": (3,), "weights": np.array([1.0, 3.0, 2.0]), "fixed": ("weights",)}
        yield {"size": (4,), "weights": np.array([2.0, -1.0, 0.5, 0.5]), "center": center, "fixed": ("weights",)}
        yield {"size": (2, 2), "weights": np.zeros(4), "center": center.reshape(2, 2), "fixed": ("weights",)}


def _narrowed(ordered: Tensor, weights: Tensor) -> Tensor:
    """Return points near zero with the same projection, for far ones: arguments are ascending.

    The set has one total, so that the projection is that of the point moved along the ones; and entries further apart
    than the weights are projected as if each side was alone, however far.
    """
    low, high = weights[..., :1], weights[..., -1:]
    far = 2 * (high - low) + torch.maximum(low.abs(), high.abs())
    steps = torch.minimum(ordered.diff(dim=-1, prepend=ordered[..., :1]), torch.where(far > 0, far, 1.0))
    return steps.cumsum(-1, dtype=torch.float64).to(ordered.dtype)


def _match_sums(block: Block) -> Fields | None:
    """Match bounds on the sums of the j largest entries for all j."""
    n = block.size
    parts = _components(block)
    if n < 3 or parts is None or not 0 < len(parts[1]) <= 2 * n:
        return None
    total, groups = parts
    sums = [fields for fields in map(SumLargest.match, groups) if fields is not None]
    if len(sums) < len(groups) or not total.is_equality or not isinstance(total.lower, Affine):
        return None
    if not (total.normal.is_constant and np.array_equal(total.normal.constant[:n], np.ones(n))):
        return None
    nothing = Affine.of(np.zeros(n), block.parameters)
    centers = [nothing if fields["center"] is None else fields["center"] for fields in sums]
    center = centers[0]
    if not isinstance(center, Affine) or not all(
        isinstance(other, Affine) and add(other, center.scaled(-1.0)).is_zero for other in centers
    ):
        return None
    whole = add(total.lower, center.mapped(-np.ones((1, n))).reshaped())
    limits = [_limit(fields, whole, n) for fields in sums] + _limits_of_bounds(block, center, whole)
    numbers = [limit for limit in limits if limit is not None]
    if len(numbers) < len(limits) or not whole.is_constant:
        return None
    best = np.full(n + 1, np.inf)
    best[0], best[n] = 0.0, whole.constant
    for count, level in numbers:
        best[count] = min(best[count], level)
    weights = np.diff(best)
    if not np.isfinite(best).all() or (np.diff(weights) > _TOLERANCE * np.abs(best).max()).any():
        return None
    return {"center": None if center.is_zero else center, "weights": Affine.of(weights, block.parameters)}


def _limit(fields: Vectors, whole: Affine, n: int) -> tuple[int, float] | None:
    """Return j and the number that bounds the sum of the j largest entries."""
    k, level = as_number(fields["count"], np.nan), as_number(fields["total"], np.nan)
    if np.isnan(level):
        return None
    if k != round(k) or k == n:
        return None
    if fields["sign"] is None:
        return int(k), level
    return n - int(k), level + float(whole.constant)


def _limits_of_bounds(block: Block, center: Affine, whole: Affine) -> list[tuple[int, float] | None]:
    """Return what the bounds on entries say of the largest one, and of all but the smallest one."""
    result: list[tuple[int, float] | None] = []
    n = block.size
    for bound, sign in ((block.upper, 1.0), (block.lower, -1.0)):
        if not isinstance(bound, Affine):
            result += [] if bound is None else [None]
        elif bound[:n].is_constant and np.isinf(bound.constant[:n]).all():
            continue
        else:
            level = add(bound[:n], center.scaled(-1.0))
            equal = np.ptp(level.constant) <= _TOLERANCE * (1 + np.abs(level.constant).max())
            number = sign * float((sign * level.constant).min())
            limit = (1, number) if sign > 0 else (n - 1, float(whole.constant) - number)
            result.append(limit if level.is_constant and equal else None)
    return result


def _components(block: Block) -> tuple[Row, list[Block]] | None:
    """Return the row without auxiliary entries, and one block for each budget, with the auxiliary entries in it.

    None where the budgets do not share all auxiliary entries out, or another row has those of several.
    """
    n = block.size
    used = entries_of(block.normals)
    hidden = used.column >= n
    visible, auxiliary = (np.bincount(used.row[part], minlength=len(block.rows)) for part in (~hidden, hidden))
    plain, budgets = np.flatnonzero(auxiliary == 0), np.flatnonzero(visible == 0)
    shares = hidden & (visible[used.row] == 0)
    if len(plain) != 1 or not is_permutation(used.column[shares] - n, block.auxiliary):
        return None
    owner = np.zeros(n + block.auxiliary, dtype=np.int64)
    owner[used.column[shares]] = used.row[shares]
    group = np.full(len(block.rows), -1)
    group[used.row[hidden]] = owner[used.column[hidden]]
    if (owner[used.column[hidden]] != group[used.row[hidden]]).any():
        return None
    parts = []
    for budget in budgets.tolist():
        entries = n + np.flatnonzero(owner[n:] == budget)
        columns, rows = np.concatenate([np.arange(n), entries]), np.flatnonzero(group == budget)
        upper = None if block.upper is None else block.upper[entries].numbers
        if block.lower is None or (block.upper is not None and (upper is None or not np.isposinf(upper).all())):
            return None
        free = Affine.of(np.full(n, -np.inf), block.parameters)
        parts.append(
            dataclasses.replace(
                block,
                auxiliary=len(entries),
                lower=concatenate(free, block.lower[entries]),
                upper=None,
                rows=tuple(dataclasses.replace(block.rows[k], normal=block.rows[k].normal[columns]) for k in rows),
            )
        )
    return block.rows[plain[0]], parts
