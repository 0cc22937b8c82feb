"""Isotonic regression: the nearest nondecreasing sequence, by pooling adjacent violators.

Best and Chakravarti, "Active set algorithms for isotonic regression; a unifying framework", 1990; Barlow, Bartholomew,
Bremner and Brunk, "Statistical inference under order restrictions", 1972.
"""

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu import isotonic
from optlayers.kernels.cpu.call import is_built
from optlayers.kernels.fused import rows_of

_MOST_WORK = 16  # passes over the data, by sweeps that merge, before the rest is split instead


def isotonic_means(v: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``argmin_y sum(weight * (y - v)^2)`` over ``y_1 <= ... <= y_n``, ``(*batch, n)``, with all derivatives.

    Weights are positive. Equal neighbours count as pooled: such a point takes the derivative of the boundary.
    """
    rows = rows_of("isotonic", v) if weight is None else None
    if rows is not None:
        values, starts = rows.kernels.project(rows.points)
        return rows.answer(values, block_means, (starts,))
    values, starts = pool(v, weight)
    if not is_traced() and not any(t is not None and may_need_derivative(t) for t in (v, weight)):
        return values
    return settled(block_means(v, starts, weight), values)


def settled(formula: Tensor, value: Tensor) -> Tensor:
    """Return the value, which is more accurate, with the derivatives of the formula."""
    return formula + primal(value - formula)


def pool(v: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the isotonic means, and for each entry the position of its block's first one; without derivatives."""
    return _operator(primal(v), None if weight is None else primal(weight))


def block_means(v: Tensor, starts: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return for each entry its block's (weighted) mean, as a differentiable formula; shapes (*batch, n)."""
    shape = torch.broadcast_shapes(v.shape, starts.shape)
    v, starts = v.expand(shape), starts.expand(shape)
    weight = torch.ones_like(v) if weight is None else weight.expand(shape)
    mass = torch.zeros_like(v).scatter_add(-1, starts, weight)
    total = torch.zeros_like(v).scatter_add(-1, starts, weight * v)
    return (total / torch.where(mass > 0, mass, 1.0)).gather(-1, starts)


def _pool_adjacent(v: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, n = batch_shape((v, weight), (1, 1)), v.shape[-1]
    v = v.expand(*batch, n).reshape(-1, n)
    if n == 0:
        return v.new_empty(*batch, n), v.new_empty(*batch, n, dtype=torch.int64)
    if weight is not None:
        weight = weight.expand(*batch, n).reshape(-1, n)
    is_compiled = v.device.type == "cpu" and v.dtype in (torch.float32, torch.float64) and is_built()
    values, starts = (isotonic.project if is_compiled else pool_rows)(v, weight)
    return values.reshape(*batch, n), starts.reshape(*batch, n)


def pool_rows(v: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Merge all decreasing runs of blocks at once, in all rows, until there is none.

    Each sweep looks at the blocks that are left, which on most data get fewer geometrically. Where they do not, what is
    left is solved from the top down, and checked by another sweep.
    """
    count, n = v.shape
    exact = v.double()
    mass = torch.ones_like(exact) if weight is None else weight.double()
    blocks = _Blocks(exact.flatten(), mass.flatten(), torch.arange(count * n, device=v.device), n)
    work = 0
    while (joins := blocks.not_above()).any():
        work += len(joins)
        if _MOST_WORK * v.numel() < work < torch.inf:
            joins, work = blocks.together(), torch.inf
        blocks = blocks.merged(joins)
    ends = torch.cat([blocks.first[1:], blocks.first.new_full((1,), count * n)])
    starts = (blocks.first % n).repeat_interleave(ends - blocks.first).reshape(count, n)
    values = block_means(exact, starts, mass)
    return (values + block_means(exact - values, starts, mass)).to(v.dtype), starts


class _Blocks:
    """Blocks of consecutive entries of all rows, laid end to end: mean, mass, position of the first entry."""

    def __init__(self, mean: Tensor, mass: Tensor, first: Tensor, n: int) -> None:
        self.mean, self.mass, self.first, self.n = mean, mass, first, n

    def not_above(self) -> Tensor:
        """Whether each block is not above the one before it, in its row."""
        joins = torch.zeros_like(self.mean, dtype=torch.bool)
        joins[1:] = (self.mean[1:] <= self.mean[:-1]) & (self.first[1:] % self.n != 0)
        return joins

    def merged(self, joins: Tensor) -> "_Blocks":
        """Merge each block that joins the one before it with that."""
        mean, mass = _group_means(self.mean, self.mass, (~joins).cumsum(0) - 1)
        return _Blocks(mean, mass, self.first[~joins], self.n)

    def together(self) -> Tensor:
        """Whether each block is level with the one before it in the solution.

        From whole rows down: the entries above a group's mean `c` in the solution are those from the position on where
        the sum of ``mass * (mean - c)`` up to it is least; a group that has no such sum below zero is level
        (Luss, Rosset and Shahar, "Efficient regularized isotonic regression", 2012).
        """
        joins = self.first % self.n != 0
        active = torch.arange(len(joins), device=joins.device)
        while len(active):
            group = (~joins[active]).cumsum(0) - 1
            mean, mass = self.mean[active], self.mass[active]
            gain = mass * (mean - _group_means(mean, mass, group)[0][group])
            before = gain.cumsum(0) - gain
            before = before - before[~joins[active]][group]
            lowest = -_group_max(-before, group)
            size = _group_max(gain.abs(), group)
            splits = (before == lowest) & (lowest < -torch.finfo(mean.dtype).eps * size)
            joins[active[splits]] = False
            active = active[_group_max(splits.to(mean.dtype), group) > 0]
        return joins


def _group_means(mean: Tensor, mass: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    empty = mean.new_zeros(int(group[-1]) + 1)
    total = empty.index_add(0, group, mass)
    return empty.index_add(0, group, mass * mean) / total, total


def _group_max(values: Tensor, group: Tensor) -> Tensor:
    """Return for each entry the largest value of its group."""
    return values.new_full((int(group[-1]) + 1,), -torch.inf).scatter_reduce(0, group, values, "amax")[group]


def _results(n: int) -> list[Result]:
    return [((n,), None), ((n,), torch.int64)]


_operator = define("pool_adjacent", {"v": 1, "weight?": 1}, _pool_adjacent, _results)
