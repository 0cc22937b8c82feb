"""The IEEE 118-bus system per unit: loads, generators, flows of lines, and which of them can reach their limits.

Grid and costs are PYPOWER's `case118`. It has no line limits: ours are 80% of the flows of the cheapest dispatch of
the nominal loads, at least 150 MW, so that about nine lines are congested at a time and the loads can still be met.
"""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from pypower.case118 import case118
from pypower.ext2int import ext2int
from pypower.makePTDF import makePTDF
from torch import Tensor

BASE = 100.0  # MW per unit; all tensors are per unit
COMMON, OWN = 0.2, 0.1  # loads vary together by 20% either way, and each by another 10%
LIMIT_SHARE, LEAST_LIMIT = 0.8, 1.5


@dataclass(frozen=True)
class Grid:
    """The system per unit, as float64 tensors.

    Attributes
    ----------
    loads : Tensor, shape (buses,)
        Nominal.
    lower, upper, quadratic, linear : Tensor, shape (generators,)
        Limits of outputs, and costs ``quadratic * g**2 + linear * g`` in $ per hour.
    by_generator : Tensor, shape (lines, generators)
        The flows that one unit of each generator causes: columns of the PTDF.
    by_load : Tensor, shape (lines, buses)
        The flows that one unit of each load takes away: the PTDF.
    limit : Tensor, shape (lines,)
    names : list of str
        The two buses of each line.
    """

    loads: Tensor
    lower: Tensor
    upper: Tensor
    quadratic: Tensor
    linear: Tensor
    by_generator: Tensor
    by_load: Tensor
    limit: Tensor
    names: list[str]

    def cost(self, outputs: Tensor) -> Tensor:
        return (self.quadratic * outputs.square() + self.linear * outputs).sum(-1)

    def flows(self, outputs: Tensor, loads: Tensor) -> Tensor:
        return outputs @ self.by_generator.mT - loads @ self.by_load.mT

    def violations(self, outputs: Tensor, loads: Tensor) -> Tensor:
        """Return by how much balance, generators and lines (all, also those that the layer leaves out) are violated."""
        balance = (outputs.sum(-1, keepdim=True) - loads.sum(-1, keepdim=True)).abs()
        outside = (self.lower - outputs).relu() + (outputs - self.upper).relu()
        return torch.cat([balance, outside, (self.flows(outputs, loads).abs() - self.limit).relu()], -1)


def load_grid() -> Grid:
    case = ext2int(case118())  # buses counted from zero
    ptdf = makePTDF(case["baseMVA"], case["bus"], case["branch"])
    generators, costs = case["gen"], case["gencost"]
    by_generator = ptdf[:, generators[:, 0].astype(int)]
    loads, lower, upper = case["bus"][:, 2] / BASE, generators[:, 9] / BASE, generators[:, 8] / BASE
    quadratic, linear = costs[:, 4] * BASE**2, costs[:, 5] * BASE

    outputs = cp.Variable(len(upper), bounds=[lower, upper])
    cost = quadratic @ outputs**2 + linear @ outputs
    cp.Problem(cp.Minimize(cost), [cp.sum(outputs) == loads.sum()]).solve(solver=cp.CLARABEL)
    flow = (by_generator @ outputs).value - ptdf @ loads
    limit = np.maximum(LIMIT_SHARE * np.abs(flow), LEAST_LIMIT)

    return Grid(
        *map(torch.tensor, (loads, lower, upper, quadratic, linear, by_generator, ptdf, limit)),
        names=[f"{int(start) + 1}–{int(end) + 1}" for start, end in case["branch"][:, :2]],
    )


def draw_loads(grid: Grid, count: int, seed: int) -> Tensor:
    """Return loads ``(count, buses)``: nominal, times a factor for all buses, times a factor for each."""
    generator = torch.Generator().manual_seed(seed)
    common = 1 + COMMON * (2 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 1)
    own = 1 + OWN * (2 * torch.rand(count, len(grid.loads), generator=generator, dtype=torch.float64) - 1)
    return grid.loads * common * own


def can_bind(grid: Grid) -> Tensor:
    """Return which lines could reach their limits, by any balanced outputs for any loads that `draw_loads` may draw.

    The largest flow ``a'g - p'd`` over outputs `g` and loads `d` in their boxes with ``sum(g) == sum(d)`` is, by
    duality, the minimum over `z` of the largest ``(a - z)'g + (z - p)'d`` over the boxes. That is convex and piecewise
    linear in `z`, with breakpoints at the entries of `a` and `p`, so its minimum is at one of them.
    """
    least, most = (1 - COMMON) * (1 - OWN) * grid.loads, (1 + COMMON) * (1 + OWN) * grid.loads
    largest = []
    for sign in (1, -1):
        a, p = sign * grid.by_generator, sign * grid.by_load
        z = torch.cat([a, p], -1).unsqueeze(-1)
        gain, saving = a.unsqueeze(-2) - z, z - p.unsqueeze(-2)
        generated = torch.maximum(gain * grid.lower, gain * grid.upper).sum(-1)
        largest.append((generated + torch.maximum(saving * least, saving * most).sum(-1)).amin(-1))
    return torch.maximum(*largest) > grid.limit
