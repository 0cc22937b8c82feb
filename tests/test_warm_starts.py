"""Warm starts of the general solver."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from general_examples import LIMITS, budget, number

from optlayers import ProjectionLayer, WarmStarts


def warm_problem(cone):
    rng = np.random.default_rng(3)
    x = cp.Variable(20, name="x")
    constraints = [rng.normal(size=(30, 20)) @ x <= rng.exponential(size=30), cp.sum(x) == 0.5]
    if cone:
        constraints.append(cp.norm(x) <= 0.8)
    return ProjectionLayer(constraints, x)


@pytest.mark.parametrize("cone", [False, True])
def test_warm_starts_save_steps_and_change_nothing(cone):
    layer = warm_problem(cone)
    v = 2 * torch.randn(8, 20, dtype=torch.float64)
    first = layer.solve(v)
    near = v + 1e-4 * torch.randn_like(v)
    cold, warm = layer.solve(near), layer.solve(near, warm_start=first)
    torch.testing.assert_close(warm.value, cold.value, rtol=0, atol=1e-9 if not cone else 1e-8)
    assert 2 * int(warm.steps.max()) <= int(cold.steps.max())


def test_warm_starts_of_the_items_of_a_dataset():
    layer = warm_problem(False)
    data = 2 * torch.randn(6, 20, dtype=torch.float64)
    starts = WarmStarts(len(data))
    assert starts[torch.tensor([0, 1])] is None
    assert layer.solve(data[:2], warm_start=starts[[0, 1]]).solved.all()
    index = torch.tensor([4, 1, 3])
    starts[index] = layer.solve(data[index])
    assert all(t.isfinite().all() for t in starts[index].state)
    assert all(t.isnan().all() for t in starts[[0, 2, 5]].state)
    cold = layer.solve(data)
    mixed = layer.solve(data, warm_start=starts[range(6)])  # some are known
    assert mixed.solved.all()
    torch.testing.assert_close(mixed.value, cold.value, rtol=0, atol=1e-10)
    known = layer.solve(data[index], warm_start=starts[index])
    assert int(known.steps.max()) < int(cold.steps.max())
    grid = torch.tensor([[4, 1], [3, 0]])
    assert layer.solve(data[grid], warm_start=starts[grid]).solved.all()
    with pytest.raises(ValueError, match=r"\(3,\) for an index of shape \(2,\)"):
        starts[[0, 1]] = layer.solve(data[index])


def test_unsolved_items_are_not_kept():
    layer, starts = budget(on_failure="nan"), WarmStarts(2)
    starts[[0, 1]] = layer.solve(torch.zeros(2, 4), LIMITS, number(1.0, -1.0))
    (state,) = starts[[0, 1]].state
    assert state.isfinite().flatten(1).all(-1).tolist() == [True, False]
