"""Bipartite graphs, many at once: which edges connect them, and their Laplacians' linear systems."""

import math

import torch
from torch import Tensor


def connect(
    free: Tensor, cost: Tensor, movable: Tensor, loose_rows: Tensor, loose_columns: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the free edges with those of least cost that join their components, by Borůvka's spanning forest.

    Also returns each node's component, ``(samples, m + n + 1)``: of the rows, the columns, and the ground. Loose nodes
    are joined to the ground whatever the edges are; edges that are not movable are never added.
    """
    samples, m, n = free.shape
    edge_cost = torch.where(free, -1.0, torch.where(movable, cost, torch.inf)).flatten(1)
    order = edge_cost.argsort(dim=-1, stable=True)  # ranks tell equal costs apart, so that no cycle is closed
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(m * n, device=free.device).expand_as(order))
    never = m * n
    rank = torch.where(edge_cost.isinf(), never, rank).reshape(samples, m, n)
    nodes = m + n + 1
    label = torch.arange(nodes, device=free.device).expand(samples, nodes)
    loose = torch.cat([loose_rows, loose_columns, torch.ones_like(loose_rows[:, :1])], -1)
    label = torch.where(loose, nodes - 1, label)
    chosen = torch.zeros(samples, never + 1, dtype=torch.bool, device=free.device)
    for _ in range(math.ceil(math.log2(nodes)) + 1):
        rows, columns = label[:, :m], label[:, m:-1]
        open_ = torch.where(rows.unsqueeze(-1) != columns.unsqueeze(-2), rank, never)
        best = torch.full_like(label, never)
        best.scatter_reduce_(1, label[:, :-1], torch.cat([open_.amin(-1), open_.amin(-2)], -1), "amin")
        is_joined = best < never
        if not bool(is_joined.any()):
            break
        edge = order.gather(1, torch.where(is_joined, best, 0))
        chosen.scatter_(1, torch.where(is_joined, edge, never), True)
        ends = rows.gather(1, edge // n) + columns.gather(1, edge % n)
        node = torch.arange(nodes, device=free.device).expand_as(label)
        parent = torch.where(is_joined, ends - node, node)
        parent = torch.where((parent.gather(1, parent) == node) & (node < parent), node, parent)
        for _ in range(math.ceil(math.log2(nodes))):
            parent = parent.gather(1, parent)
        label = parent.gather(1, label)
    return free | chosen[:, :-1].reshape_as(free), label


def potentials(
    free: Tensor, rows: Tensor, columns: Tensor, label: Tensor, ra: Tensor, rb: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve ``[D_a F; F' D_b] (a, b) = (ra, rb)`` for the degrees `D` and the adjacency `F` of bipartite graphs.

    It is linear in the right-hand side and differentiable in it alone. A component without loose node determines its
    potentials but for a constant, and right-hand sides that have a solution but for their balance. Loose nodes, whose
    potential is zero, are zeros of `rows` and `columns`; the last label is that of their component.
    """
    m, n = free.shape[-2:]
    if n > m:
        swapped = torch.cat([label[..., m:-1], label[..., :m], label[..., -1:]], -1)
        b, a = potentials(free.mT, columns, rows, swapped, rb, ra)
        return a, b
    degree_a, degree_b = (
        torch.where(active * count > 0, count, 1.0) for active, count in ((rows, free.sum(-1)), (columns, free.sum(-2)))
    )
    component = label[..., m:-1]
    floating = (component != label[..., -1:]) & (columns > 0)
    same = component.unsqueeze(-1) == component.unsqueeze(-2)
    same = same & floating.unsqueeze(-1) & floating.unsqueeze(-2)
    inner = free * rows.unsqueeze(-1) * columns.unsqueeze(-2)
    a, b = solve_bipartite(inner, degree_a, degree_b, ra, rb * columns, same.to(free.dtype))
    return a * rows, b


def solve_bipartite(
    inner: Tensor, degree_a: Tensor, degree_b: Tensor, ra: Tensor, rb: Tensor, extra: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Solve ``[D_a F; F' D_b + extra] (a, b) = (ra, rb)`` for diagonals `D` and `F`, the inner part; `a` goes first."""
    scaled = inner / degree_a.unsqueeze(-1)
    factor = torch.linalg.cholesky_ex(torch.diag_embed(degree_b) - inner.mT @ scaled + extra)[0]
    right = rb - (scaled.mT @ ra.unsqueeze(-1)).squeeze(-1)
    b = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
    return (ra - (inner @ b.unsqueeze(-1)).squeeze(-1)) / degree_a, b
