"""What the user's objects hold before, and become after, does not change a set; and constraints pair with duals."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, ProjectionLayer
from optlayers.oracles.linear_minimisation import minimise_linear


def points(n, seed=0):
    return 2 * torch.randn(5, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(constraints, variable, v):
    """Project by CVXPY, on a variable of its own state."""
    rows = []
    for row in v.numpy():
        cp.Problem(cp.Minimize(cp.sum_squares(variable - row)), constraints).solve(solver=cp.CLARABEL)
        rows.append(variable.value)
        variable.save_value(None)
    return torch.tensor(np.array(rows))


RISKS = {"cvar": lambda x: [cp.cvar(x, 0.3) <= 0.1, x >= -1], "sum of largest": lambda x: [cp.sum_largest(x, 2.5) <= 1]}


@pytest.mark.parametrize("risk", RISKS)
def test_values_of_variables_are_not_read_and_stay(risk):
    x = cp.Variable(5)
    constraints, v = RISKS[risk](x), points(5)
    nearest = reference(constraints, x, v)
    x.value = np.arange(5.0)
    feasible_set = FeasibleSet(constraints)
    solution = feasible_set.solve(v)
    assert (solution.value - nearest).abs().max() < 1e-5
    x.value = np.full(5, 3.0)  # duals are compiled when they are asked for
    assert all(bool(torch.as_tensor(dual).isfinite().all()) for dual in solution.dual)
    assert np.array_equal(x.value, np.full(5, 3.0))


def test_explanations_of_empty_sets_do_not_read_values():
    x, p = cp.Variable(3, name="x"), cp.Parameter(name="p")
    feasible_set = FeasibleSet([cp.norm(x) <= 1, x >= p])
    x.save_value(np.full(3, np.nan))
    p.save_value(np.nan)
    with pytest.raises(ValueError, match="no point satisfies"):
        feasible_set.bind(3.0).project(points(3))


def test_linear_minimisation_leaves_values_alone():
    x = cp.Variable(3)
    x.value = np.ones(3)
    feasible_set = FeasibleSet([cp.norm(x, 3) <= 1, x >= 0])
    assert torch.allclose(minimise_linear(feasible_set, torch.tensor([-1.0, 0.0, 0.0])), torch.eye(3)[0], atol=1e-2)
    assert np.array_equal(x.value, np.ones(3))


def test_arrays_that_change_later_do_not_change_the_set():
    bound = np.ones(3)
    x = cp.Variable(3, bounds=[-bound, bound])
    feasible_set = FeasibleSet([cp.sum(x) <= bound[0], x >= -bound])
    v = points(3) + 3
    before, duals = feasible_set.project(v), feasible_set.solve(v).dual
    bound[:] = 100
    assert torch.equal(feasible_set.project(v), before)
    again = FeasibleSet([cp.sum(x) <= 1.0], x)
    bound[:] = 50
    assert bool(again.solve(v).dual[0].isfinite().all())
    assert all(torch.equal(one, other) for one, other in zip(feasible_set.solve(v).dual, duals, strict=True))


def test_bound_arrays_are_copied_and_tensors_are_followed():
    x, p = cp.Variable(3), cp.Parameter(3)
    feasible_set = FeasibleSet([x <= p])
    array, tensor = np.ones(3), torch.ones(3, dtype=torch.float64)
    by_array, by_tensor = feasible_set.bind(array), feasible_set.bind(tensor)
    array[:], tensor[:] = -5, -5
    v = torch.full((3,), 9.0, dtype=torch.float64)
    assert by_array.project(v).tolist() == [1, 1, 1]
    assert by_tensor.project(v).tolist() == [-5, -5, -5]


def test_a_variable_in_no_constraint_is_named_with_its_twin():
    old, new = cp.Variable(4, name="w"), cp.Variable(4, name="w")
    with pytest.raises(ValueError, match=r"variable w \(4,\) is in no constraint.*another variable w \(4,\)"):
        ProjectionLayer([old >= 0], variables=[new])
    with pytest.raises(ValueError, match=r"variable q \(2,\) is in no constraint.*leave it out"):
        ProjectionLayer([old >= 0], variables=[old, cp.Variable(2, name="q")])
    FeasibleSet([old >= 0], [old, cp.Variable(2, nonneg=True)])  # an attribute is a constraint
    assert FeasibleSet([], new).solve(points(4)).dual == []


def stationarity(matrices, duals, v, y):
    gradient = sum(dual @ torch.tensor(matrix) for matrix, dual in zip(matrices, duals, strict=True))
    return float((y - v + gradient).abs().max())


@pytest.mark.parametrize("redundant_first", [True, False])
@pytest.mark.parametrize("rows", [2, 4])
def test_duals_of_redundant_equations(redundant_first, rows):
    matrix = np.random.default_rng(0).normal(size=(rows, 4))
    parts = [matrix[:1], matrix] if redundant_first else [matrix, matrix[:1]]
    x, v = cp.Variable(4), points(4)
    solution = FeasibleSet([part @ x == 1 for part in parts]).solve(v)
    assert stationarity(parts, solution.dual, v, solution.value) < 1e-9


def test_one_dual_for_each_constraint_given():
    x, v = cp.Variable(4), points(4)
    nonnegative = x >= 0
    solution = FeasibleSet([nonnegative, True, nonnegative, cp.sum(x) == 1]).solve(v)
    one, number, other, total = solution.dual
    assert number.shape == (5,)
    assert not bool(number.any())
    assert one.shape == other.shape == (5, 4)
    gap = solution.value - v - one - other + total.unsqueeze(-1)
    assert gap.abs().max() < 1e-9


def test_duals_without_any_row():
    x, v = cp.Variable(4), points(4)
    assert FeasibleSet([], x).solve(v).dual == []
    (dual,) = FeasibleSet([0 * x <= 1], x).solve(v).dual
    assert dual.shape == (5, 4)
    assert not bool(dual.any())


def test_duals_of_squares_in_other_units():
    x, v = cp.Variable(4), 5 * points(4)
    solution = FeasibleSet([cp.sum_squares(14 * x) <= 686]).solve(v)
    (dual,) = solution.dual
    outside = v.norm(dim=-1) > 686**0.5 / 14
    assert bool(outside.any())
    expected = (v.norm(dim=-1) / (686**0.5 / 14) - 1) / (2 * 196)
    assert torch.allclose(dual[outside], expected[outside], rtol=1e-6)
