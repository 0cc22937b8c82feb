"""Dykstra's alternating projections against the general solver, and their limits."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from optlayers import FeasibleSet, InfeasibleError, ProjectionLayer, Status
from optlayers.errors import NotSolvedError

MATRIX = np.array([[1.0, 0.4, -1.0, 2.2, 1.9], [-1.0, 1.0, 0.2, -0.1, 0.4], [0.1, 1.5, 0.8, 0.1, -0.4]])


GENERATOR = torch.Generator().manual_seed(0)


def uniform(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR)


def number(*values):
    return torch.tensor(values, dtype=torch.float64)


CASES = {
    "box, half-spaces": (lambda x, b: [x >= -1, x <= 1, MATRIX @ x <= b], [0.1 + 0.5 * uniform(4, 3)]),
    "box, half-spaces with parameters": (
        lambda x, a, b: [x >= 0, a @ x <= 1, b @ x <= 1, cp.sum(x) >= 0.5],
        [uniform(4, 5), uniform(5)],
    ),
    "affine set, orthant": (lambda x, b: [x >= 0, MATRIX[:2] @ x == b], [number([4.5, 0.5], [5, 0], [3, 0], [4, 1])]),
    "affine set, knapsack": (
        lambda x, b: [x >= 0, MATRIX[:2] @ x == [4.5, 0.5], x[0] + 2 * x[3] <= b],
        [number(2.0, 2.5, 3.0, 4.0)],
    ),
    "two balls": (
        lambda x, r, c: [cp.norm(x) <= r, cp.norm(x - c) <= 1],
        [number(1.0, 1.2, 0.8, 0.9), number(0.9, 0.5, 0.0, -0.2, 0.1)],
    ),
    "ball, simplex": (lambda x, r: [cp.norm(x - 0.3) <= r, x >= 0, cp.sum(x) == 1], [number(0.5, 0.45, 0.6, 0.4)]),
    "balls of some entries, an ellipsoid": (
        lambda x, r: [cp.norm(x[:3]) <= r, cp.norm(MATRIX @ x) <= 2, cp.sum_squares(x[2:] - 1) <= 1.2],
        [number(0.9, 0.8, 1.0, 0.7)],
    ),
}


def make(build, values, size=5, **options):
    x = cp.Variable(size, name="x")
    sizes = [value.shape[1:] if len(value) == 4 else value.shape for value in values]
    parameters = [cp.Parameter(tuple(shape), name=f"p{k}") for k, shape in enumerate(sizes)]
    return FeasibleSet(build(x, *parameters), x, parameters, **options)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_general_solver_in_value_and_gradient(name):
    build, values = CASES[name]
    v = 1.5 * torch.randn(4, 5, dtype=torch.float64)
    weights, results = torch.randn(5, dtype=torch.float64), []
    for method in ("general", "dykstra"):
        feasible_set = make(build, values, method=method)
        assert feasible_set.method == method
        leaves = [t.clone().requires_grad_() for t in (v, *values)]
        solution = feasible_set.bind(*leaves[1:]).solve(leaves[0])
        assert solution.solved.all()
        plain = feasible_set.bind(*values).project(v)
        results.append([plain, solution.value, *torch.autograd.grad((solution.value * weights).sum(), leaves)])
    assert not torch.equal(results[0][1], v)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_derivatives_without_cones_are_of_any_order_and_mode():
    build, values = CASES["box, half-spaces with parameters"]
    feasible_set = make(build, values, method="dykstra")
    v, a, b = torch.randn(4, 5, dtype=torch.float64), *values
    v, a = v[:2], a[:2]

    def project(v, a):
        return feasible_set.bind(a, b).project(v)

    leaves = (v.requires_grad_(), a.clone().requires_grad_())
    assert torch.autograd.gradcheck(project, leaves, atol=1e-5, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(project, leaves, atol=1e-4, fast_mode=True)


def test_derivatives_with_cones_are_first_and_backwards_only():
    build, values = CASES["two balls"]
    bound = make(build, values, method="dykstra").bind(*values)
    v = 2 * torch.randn(4, 5, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        torch.autograd.grad(bound.project(v.requires_grad_()).sum(), v, create_graph=True)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        bound.project(forward_ad.make_dual(v.detach(), torch.ones_like(v)))
    with pytest.raises(NotImplementedError, match="method='general'"):
        torch.vmap(bound.project)(v.detach())


def test_blocks_alike_run_together_and_recognised_ones_keep_their_closed_form():
    x = cp.Variable((6, 3), name="x")
    caps, y = cp.Parameter(6, name="caps"), cp.Variable(2)
    constraints = [x >= 0, y >= 0, cp.sum(y) == 1]
    constraints += [c for k in range(6) for c in (cp.sum(x[k]) <= 1, x[k, 0] - (2 + k) * x[k, 1] <= caps[k])]
    sets = [FeasibleSet(constraints, [x, y], [caps], method=method) for method in ("general", "dykstra")]
    assert len(sets[1].compiled.general) == 1
    text = sets[1].explain()
    assert "simplex, 2 entries" in text
    assert text.count("Dykstra's alternating projections onto knapsack, half-space") == 6
    results = []
    points = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    for feasible_set in sets:
        leaves = [t.clone().requires_grad_() for t in (*points, torch.linspace(0.1, 0.3, 6).double())]
        first, second = feasible_set.bind(leaves[2]).project(*leaves[:2])
        results.append([first, second, *torch.autograd.grad((first * points[0]).sum() + second[0, 0], leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["box, half-spaces", "ball, simplex"])
def test_float32_batches_and_points_inside(name):
    build, values = CASES[name]
    feasible_set = make(build, values, method="dykstra")
    v = 2 * torch.randn(4, 5)
    inside = feasible_set.bind(*values).project(v.double())[1]
    v[1] = 0.9 * inside + 0.1 * inside.mean() if name == "ball, simplex" else 0.9 * inside
    bound = feasible_set.bind(*(value.float() for value in values))
    solution = bound.solve(v)
    assert solution.value.dtype == torch.float32
    torch.testing.assert_close(solution.value[1], v[1], rtol=0, atol=1e-6)
    assert solution.steps[1] < solution.steps.max()
    exact = make(build, values).bind(*values).project(v.double())
    torch.testing.assert_close(solution.value, exact.float(), rtol=0, atol=1e-5)
    alone = [feasible_set.bind(*(value[k] for value in values)).project(v[k].double()) for k in range(4)]
    whole = feasible_set.bind(*values).project(v.double())
    torch.testing.assert_close(torch.stack(alone), whole, rtol=0, atol=1e-14)
    for shape in ((0,), (2, 0)):
        none = [value.new_ones(*shape, *value.shape[1:]) for value in values]
        assert feasible_set.bind(*none).project(torch.ones(*shape, 5)).shape == (*shape, 5)


def test_sets_it_cannot_take_are_refused_by_name():
    x = cp.Variable(5)
    for constraint in (cp.log_sum_exp(x) <= 1, cp.norm1(x) + cp.norm(x[:4]) <= 3):
        with pytest.raises(ValueError, match=r"constraint 1 .*method='general'") as info:
            FeasibleSet([x >= -1, constraint, cp.sum(x) <= 2], x, method="dykstra")
        assert "constraint 2" not in str(info.value)
    with pytest.raises(ValueError, match="nearest"):
        FeasibleSet([x >= 0], x, method="dykstra", on_failure="nearest")


def test_empty_intersections_are_unsolved_and_empty_members_infeasible():
    r = cp.Parameter(name="r")
    v = torch.tensor([[3.0, 1.0], [0.5, 4.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    radii = number(2.0, 0.5, -1.0)

    def bound(on_failure):
        x = cp.Variable(2, name="x")
        layer = ProjectionLayer([cp.norm(x) <= r, cp.norm(x - 2) <= 1.5], method="dykstra", on_failure=on_failure)
        layer.feasible_set.compiled.general[0].max_cycles = 200
        return layer.feasible_set

    solution = bound("nan").bind(radii).solve(v)
    assert solution.status.tolist() == [Status.SOLVED, Status.UNSOLVED, Status.INFEASIBLE]
    assert solution.value.isnan().all(-1).tolist() == [False, True, True]
    assert solution.steps[1] == 200
    (gradient,) = torch.autograd.grad(solution.value[0].sum(), v)
    assert gradient.isfinite().all()
    assert (gradient[1:] == 0).all()
    with pytest.raises(NotSolvedError, match="accuracy"):
        bound("raise").bind(radii[:2]).project(v[:2])
    with pytest.raises(InfeasibleError, match="constraint 0"):
        bound("raise").bind(radii[::2]).project(v[::2])
