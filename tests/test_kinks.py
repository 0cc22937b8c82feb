"""Derivatives where they jump: at ties and vertices, one row, many rows and forward mode give the same ones."""

from __future__ import annotations

import itertools

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import ProjectionLayer

X = cp.Variable(3)
WEIGHTS = np.array([1.0, 2.0, 1.0])
SETS = {
    "knapsack": [X >= 0, X <= 1, WEIGHTS @ X <= 2],
    "solid simplex": [X >= 0, cp.sum(X) <= 1],
    "simplex": [X >= 0, cp.sum(X) == 1],
    "capped simplex": [X >= 0, X <= 1, cp.sum(X) == 2],
    "box": [X >= 0, X <= 1],
    "L1 ball": [cp.norm1(X) <= 1],
    "monotone sequence": [cp.diff(X) >= 0, X >= 0],
}


@pytest.mark.parametrize("name", SETS)
def test_all_paths_take_the_same_derivative_at_kinks(name: str) -> None:
    layer = ProjectionLayer(SETS[name])
    points = torch.tensor(list(itertools.product([-0.5, 0.0, 0.5, 1.0, 2.0], repeat=3)), dtype=torch.float64)
    single = torch.stack([torch.autograd.functional.jacobian(layer, v) for v in points])
    many = points.repeat(40, 1).requires_grad_()
    y = layer(many)
    gradients = [torch.autograd.grad(y[:, k].sum(), many, retain_graph=True)[0][: len(points)] for k in range(3)]
    directions = torch.eye(3, dtype=torch.float64)
    tangents = [torch.func.jvp(layer, (points,), (e.expand_as(points),))[1] for e in directions]
    torch.testing.assert_close(torch.stack(gradients, 1), single)
    torch.testing.assert_close(torch.stack(tangents, -1), single)


def test_entries_on_their_bounds_count_as_held() -> None:
    """At a vertex of the box that lies on the knapsack's budget, no entry is free, and all derivatives are zero."""
    layer, vertex = ProjectionLayer(SETS["knapsack"]), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    for copies in (1, 3000):
        v = vertex.repeat(copies, 1).requires_grad_()
        y = layer(v)
        assert torch.equal(y, v)
        (gradient,) = torch.autograd.grad(y[:, 0].sum(), v)
        assert not gradient.any()
