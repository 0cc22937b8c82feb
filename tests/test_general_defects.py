"""Defects that a review found in general sets: each has a test, so that it stays away."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError, WarmStarts, compare

ROWS = np.array([[1.0, 2.0, 1.0], [0.0, 1.0, 1.0]])


def points(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("policy", ["raise", "nan", "nearest"])
def test_crossed_bounds_are_an_empty_set(policy):
    x = cp.Variable(3, name="x")
    low, high = cp.Parameter(3, name="low"), cp.Parameter(3, name="high")
    feasible_set = FeasibleSet([x >= low, x <= high, ROWS @ x <= 5], x, [low, high], on_failure=policy)
    bound = feasible_set.bind(
        torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([[0.9, 1.0, 1.0], [2.0, 2.0, 2.0]]).double()
    )
    if policy == "raise":
        with pytest.raises(InfeasibleError, match=r"constraint 0 \(x >= low\) and constraint 1 \(x <= high\)") as error:
            bound.solve(points(2, 3))
        assert error.value.rows == (0,)
        return
    solution = bound.solve(points(2, 3))
    assert solution.status.tolist() == [1, 0]
    if policy == "nearest":
        assert float(solution.value[0, 0]) == pytest.approx(0.95)
    else:
        assert bool(solution.value[0].isnan().all())


def test_crossed_parallel_rows_are_an_empty_set():
    x = cp.Variable(2)
    with pytest.raises(InfeasibleError):
        FeasibleSet([x[0] + x[1] <= 0, x[0] + x[1] >= 2, x[0] - x[1] <= 1], x)


def test_duals_of_a_scalar_constraint_without_batch():
    x = cp.Variable(4)
    positive, total = FeasibleSet([x >= 0, cp.sum(x) == 1]).solve(torch.tensor([3.0, 0.0, 0.0, 0.0]).double()).dual
    assert positive.shape == (4,)
    assert total.shape == ()
    assert float(total) == pytest.approx(2.0)


def test_second_derivatives_in_an_upper_bound_are_refused_with_cones():
    x, p = cp.Variable(3), cp.Parameter(3)
    feasible_set = FeasibleSet([cp.norm(x) <= 1, x <= p], x, [p], method="general")
    v = points(3)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        torch.func.hessian(lambda p: feasible_set.bind(p).project(v).sum())(torch.tensor([0.1, 0.2, 0.3]).double())


def test_states_without_a_valid_sample_start_nothing():
    x = cp.Variable(3)
    feasible_set = FeasibleSet([ROWS @ x <= 1, x >= -1], on_failure="nan")
    nothing = feasible_set.solve(points(2, 3) * torch.nan)
    starts = WarmStarts(2)
    starts[[0, 1]] = nothing
    assert starts[[0, 1]] is None
    assert bool(feasible_set.solve(points(2, 3), warm_start=nothing).solved.all())


def test_foreign_warm_starts_are_refused():
    x = cp.Variable(3)
    feasible_set = FeasibleSet([ROWS @ x <= 1, x >= -1])
    other = FeasibleSet([cp.norm1(x) <= 1, x[0] <= x[1]])
    for start in (feasible_set.solve(points(1, 3)), other.solve(points(2, 3))):
        with pytest.raises(ValueError, match="warm_start is not of a batch"):
            feasible_set.solve(points(2, 3), warm_start=start)


def test_states_carry_the_whole_batch():
    x, p = cp.Variable(5), cp.Parameter()
    feasible_set = FeasibleSet([cp.norm1(x[:2]) <= p, cp.norm1(x[2:]) <= 1], x, [p], method="general")
    solution = feasible_set.bind(torch.linspace(0.5, 1.5, 5).double()).solve(points(5))
    starts = WarmStarts(5)
    starts[range(5)] = solution
    assert all(part.shape[0] == 5 for part in solution.state)


def test_free_sets_on_the_general_solver():
    x = cp.Variable(3)
    v = points(2, 3)
    torch.testing.assert_close(torch.func.vmap(FeasibleSet([], x, method="general").project)(v), v)
    plane = FeasibleSet([cp.sum(x) == 1], method="general").project(v)
    torch.testing.assert_close(plane, v - (v.sum(-1, keepdim=True) - 1) / 3)


def test_sets_are_made_under_another_default_device():
    x = cp.Variable(3)
    with torch.device("meta"):
        feasible_set = FeasibleSet([ROWS @ x <= 1, x >= -1])
    assert feasible_set.method == "general"


def test_an_empty_set_contains_nothing_under_nearest():
    x = cp.Variable(3)
    p = cp.Parameter()
    feasible_set = FeasibleSet([cp.norm1(x) <= p, x[0] >= 2], x, [p], on_failure="nearest").bind(1.0)
    solution = feasible_set.solve(points(2, 3))
    assert not bool(feasible_set.contains(solution.value).any())
    assert float(solution.residual.min()) > 0.1


def test_compare_takes_bound_sets(capsys):
    x, p = cp.Variable(3), cp.Parameter(name="p")
    comparison = compare(FeasibleSet([x >= 0, cp.sum(x) == p], x, [p]).bind(p=2.0), points(2, 3), seconds=0.0)
    assert [result.method for result in comparison.results] == ["closed_form", "general", "cvxpylayers"]
    assert capsys.readouterr().out


def test_residuals_of_nan_are_nan():
    x, d = cp.Variable((3, 3), symmetric=True), cp.Parameter(3)
    feasible_set = FeasibleSet([x >> 0, cp.diag(x) == d], x, [d], on_failure="nan")
    solution = feasible_set.bind(torch.tensor([1.0, -1.0, 1.0]).double()).solve(torch.zeros(3, 3).double())
    assert int(solution.status) == 1
    assert bool(solution.residual.isnan())


def test_nearly_parallel_rows():
    x = cp.Variable(2)
    for power in (14, 17, 20):
        angle = 2.0**-power
        v = torch.tensor([1.0, angle]).double()
        y = FeasibleSet([np.array([[1.0, 0.0], [1.0, angle]]) @ x <= 0]).project(v)
        assert float(y.abs().max()) < 1e-14


def test_far_points_land_on_the_set():
    x = cp.Variable((2, 2), symmetric=True)
    feasible_set = FeasibleSet([x >> 0, cp.trace(x) == 1])
    for size in (1e4, 1e6, 1e8):
        solution = feasible_set.solve(size * torch.tensor([[1.0, 2.0], [2.0, -1.0]]).double())
        assert bool(solution.solved)
        assert float(solution.residual) < 1e-10


def test_gradients_where_a_cone_has_no_dual():
    y = cp.Variable(2)
    ball = FeasibleSet([cp.pnorm(y, 3) <= 1])
    for point, expected in (([0.0, 0.0], torch.eye(2)), ([0.0, 2.0], torch.diag(torch.tensor([1.0, 0.0])))):
        jacobian = torch.autograd.functional.jacobian(ball.project, torch.tensor(point).double())
        torch.testing.assert_close(jacobian, expected.double(), atol=1e-9, rtol=0)


INACTIVE = {  # a parameter multiplies an auxiliary entry
    "norm": (lambda x, u, q: [q[0] * cp.norm1(x) <= 1, x[0] <= x[1]], 3.0),
    "auxiliary variable": (lambda x, u, q: [q @ u <= 0.5, u >= x[:2], cp.sum(x) <= 1], 3.0),
    "positive part": (lambda x, u, q: [q[0] * cp.pos(x - 1) <= 1, x[0] <= x[1]], 3.0),
    "fixed point": (lambda x, u, q: [q @ cp.abs(x[:2]) <= 10, x == np.array([0.1, -0.2, 0.3])], 1.0),
}


@pytest.mark.parametrize("name", INACTIVE)
def test_parameters_of_auxiliary_entries_where_the_constraint_is_not_active(name):
    """The derivative is zero there, in all modes, and that of finite differences elsewhere in the same batch."""
    build, reach = INACTIVE[name]
    x, u, q = cp.Variable(3, name="x"), cp.Variable(2, name="u"), cp.Parameter(2, nonneg=True, name="q")
    feasible_set = FeasibleSet(build(x, u, q), x, q)
    v = torch.tensor([[1.0, 0.5, -0.3]], dtype=torch.float64) * torch.tensor([[0.1], [0.0], [reach]])
    value = torch.tensor([0.5, 0.3], dtype=torch.float64)

    def project(v, value):
        return feasible_set.bind(value).project(v)

    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    expected = torch.stack([(project(v, value + h) - project(v, value - h)) / 2e-5 for h in step], -1)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(project, 1)(v, value), expected, rtol=1e-6, atol=1e-8)
    leaf = value.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(project(v, leaf).sum(), leaf)
    torch.testing.assert_close(gradient, expected.sum((0, 1)), rtol=1e-6, atol=1e-8)
