"""Permutahedra, against other routes, and what only looks like one."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.sets.permutahedron import Permutahedron


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_projections_have_certificates(scale):
    """A point of the set at which no order of the weights is nearer to `v` in the direction of `v - y`."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        n = int(rng.integers(1, 30))
        v, weights = scale * rng.normal(size=n), scale * rng.normal(size=n)
        if trial % 3 == 0:
            v, weights = np.round(v / scale) * scale, np.round(weights / scale) * scale
        y = Permutahedron(None, torch.as_tensor(weights)).project(torch.as_tensor(v)).numpy()
        tolerance = 1e-13 * scale * n
        gap = np.cumsum(np.sort(y)[::-1]) - np.cumsum(np.sort(weights)[::-1])
        assert gap.max() <= tolerance
        assert abs(gap[-1]) <= tolerance
        move = v - y
        furthest = np.sort(move) @ np.sort(weights)  # the largest value of the move over the set
        assert abs(furthest - move @ y) <= tolerance * scale * n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e3, 1e7, 1e13, 1e20, 1e38])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_far_points_take_weights_in_order_and_ties_their_mean(dtype, scale, shift):
    weights = torch.tensor([1.0, 3.0, 2.0, -6.0, 0.5, 9.0], dtype=dtype)
    v = scale * (torch.tensor([1.0, 1.0, -1.0, 2.0, 2.0, 2.0], dtype=dtype) + shift)
    v = v.requires_grad_()
    y = Permutahedron(None, weights).project(v)
    expected = torch.tensor([0.75, 0.75, -6.0, 14 / 3, 14 / 3, 14 / 3], dtype=dtype)
    torch.testing.assert_close(y, expected, rtol=0, atol=64 * torch.finfo(dtype).eps)
    (gradient,) = torch.autograd.grad(y[0] + 2 * y[2] + 3 * y[3], v)
    torch.testing.assert_close(gradient, torch.tensor([0.5, -0.5, 0.0, 2.0, -1.0, -1.0], dtype=dtype))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [cp.sum(x) == 4.5, cp.max(x) <= 3, cp.sum_largest(x, 2) <= 5],
        lambda x: [cp.sum(x) <= 4.5, cp.max(x) <= 3, cp.sum_largest(x, 2) <= 5, cp.sum_largest(x, 3) <= 5.5],
        lambda x: [cp.sum(x) == 4.5, cp.max(x) <= 1.5, cp.sum_largest(x, 2) <= 2.5, cp.sum_largest(x, 3) <= 4.4],
        lambda x: [
            cp.sum(x) == 4.5,
            cp.max(x) <= 3,
            cp.sum_largest(x - 1, 2) <= 3,
            cp.sum_largest(x, 3) <= 5.5,
            x[0] <= 2,
        ],
        lambda x: [cp.sum(x) == 4.5, cp.max(x) <= 3, cp.sum_largest(x, 2.5) <= 5, cp.min(x) >= -1],
        lambda x: _mixture(x, lambda p: [p[0, 0] <= 0.5]),
        lambda x: _mixture(x, lambda p: [x[0] <= 1]),
    ],
)
def test_what_only_looks_like_one_is_left_to_the_general_solver(build):
    x = cp.Variable(4)
    feasible_set = FeasibleSet(build(x), x)
    assert feasible_set.method == "general", feasible_set.explain()


def _mixture(x, more):
    p = cp.Variable((4, 4), nonneg=True)
    return [x == p @ np.array([3.0, 2, 1, 0]), cp.sum(p, axis=0) == 1, cp.sum(p, axis=1) == 1, *more(p)]
