"""What is asked of the general solver's answers: by the data's precision, in the units of the set, far and near."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, Status
from optlayers.errors import NotSolvedError

MATRIX = np.random.default_rng(0).normal(size=(8, 5))
LIMITS = np.random.default_rng(1).exponential(size=8)


def portfolio(**options):
    rng, n = np.random.default_rng(0), 20
    w, prev = cp.Variable(n, name="w"), cp.Parameter(n, name="prev")
    root = rng.normal(size=(n, n)) / np.sqrt(n)
    risk = np.linalg.cholesky(root @ root.T / 2 + np.eye(n) / 2).T
    limits = [w >= 0, cp.sum(w) == 1, w <= 0.25, cp.norm(risk @ w) <= 0.35, cp.norm1(w - prev) <= 0.4]
    return FeasibleSet(limits, w, [prev], **options)


def test_float32_data_are_solved_to_their_own_precision():
    torch.manual_seed(0)
    feasible_set = portfolio()
    v, prev = 0.3 * torch.randn(24, 20), torch.full((20,), 1 / 20)
    single, double = feasible_set.bind(prev), feasible_set.bind(torch.full((20,), 1 / 20, dtype=torch.float64))
    exact = double.project(v.double())
    for points in (v, v.double()):  # one imprecise tensor is enough
        solution = single.solve(points.requires_grad_())
        assert solution.solved.all()
        torch.testing.assert_close(solution.value.double(), exact, rtol=0, atol=1e-6)
        (gradient,) = torch.autograd.grad(solution.value.square().sum(), points)
        assert gradient.isfinite().all()


def hopeless(**options):
    """One point, without Slater's condition: duals are unbounded."""
    x = cp.Variable(3, name="x")
    return FeasibleSet([cp.norm(x) <= 1, x[0] >= 1], x, method="general", **options)


def test_the_best_iterate_is_kept():
    v = torch.tensor([[2.0, 1.0, 0.0], [3.0, 0.0, 0.0]]).double()
    with pytest.raises(NotSolvedError, match=r"row 0\): relative residuals of up to \de-\d\d") as info:
        hopeless().project(v)
    (residual,) = info.value.residuals
    assert 1e-10 < residual < 1e-3
    with pytest.warns(RuntimeWarning, match="best iterates are returned"):
        solution = hopeless(on_failure="nearest").solve(v.requires_grad_())
    assert solution.status.tolist() == [Status.UNSOLVED, Status.SOLVED]
    torch.testing.assert_close(solution.value, torch.eye(3)[[0, 0]].double(), rtol=0, atol=0.05)
    assert float(solution.residual.detach().max()) < 1e-3
    assert torch.autograd.grad(solution.value.sum(), v)[0].isfinite().all()


SETS = {
    "rows": ((5,), lambda x, s: [MATRIX @ x <= s * LIMITS, x >= -s, cp.sum(x) == 0.2 * s]),
    "rows and a ball": ((5,), lambda x, s: [MATRIX @ x <= s * LIMITS, cp.norm(x) <= 0.8 * s]),
    "two balls": ((5,), lambda x, s: [cp.norm(x) <= s, cp.norm(x - 0.5 * s) <= s]),
    "correlations": ((4, 4), lambda x, s: [x >> 0, cp.diag(x) == s]),
}


@pytest.mark.parametrize("name", SETS)
def test_units_do_not_matter(name):
    shape, build = SETS[name]
    v, values = 2 * torch.randn(6, *shape, dtype=torch.float64), []
    for unit in (1.0, 1e-4, 1e-8, 1e6):
        x = cp.Variable(shape, symmetric=len(shape) == 2)
        solution = FeasibleSet(build(x, unit), x, method="general").solve(unit * (v if len(shape) == 1 else v + v.mT))
        assert solution.solved.all()
        values.append(solution.value / unit)
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [1e8, 1e13, 1e15])
@pytest.mark.parametrize("name", SETS)
def test_far_points_land_on_the_set_or_are_not_solved(name, size):
    shape, build = SETS[name]
    x = cp.Variable(shape, symmetric=len(shape) == 2)
    feasible_set = FeasibleSet(build(x, 1.0), x, method="general", on_failure="nan")
    v = torch.randn(4, *shape, dtype=torch.float64)
    v = size * (v if len(shape) == 1 else v + v.mT)
    solution = feasible_set.solve(v)
    y, solved = solution.value.flatten(1)[solution.solved], solution.solved
    assert solved.sum() >= 3
    assert float(solution.residual[solved].max()) <= 1e-9
    # the direction to the point is a normal: no point of the set is farther along it
    others = feasible_set.project(torch.randn(64, *x.shape, dtype=torch.float64).mul(3)).flatten(1)
    direction = torch.nn.functional.normalize(v.flatten(1)[solved] - y, dim=-1)
    assert float((direction @ others.mT - (direction * y).sum(-1, keepdim=True)).max()) <= 1e-7


@pytest.mark.parametrize("cone", [False, True])
def test_a_bad_start_is_dropped(cone):
    rng, x = np.random.default_rng(3), cp.Variable(20)
    constraints = [rng.normal(size=(30, 20)) @ x <= rng.exponential(size=30), cp.sum(x) == 0.5]
    feasible_set = FeasibleSet([*constraints, cp.norm(x) <= 0.8] if cone else constraints, x)
    v = 2 * torch.randn(8, 20, dtype=torch.float64)
    cold, warm = feasible_set.solve(v), feasible_set.solve(v, warm_start=feasible_set.solve(1e6 * v))
    assert warm.solved.all()
    torch.testing.assert_close(warm.value, cold.value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cone", [False, True])
def test_nothing_left_to_choose(cone):
    x, p, square = cp.Variable(2), cp.Parameter(2), np.array([[1.0, 2.0], [3.0, -1.0]])
    limits = [cp.norm(x) <= 9] if cone else [x <= 10, x[0] - x[1] <= 20]
    feasible_set = FeasibleSet([square @ x == p, *limits], x, [p], method="general")
    values, v = torch.tensor([[1.0, 2.0], [0.0, -1.0]]).double(), torch.randn(2, 2, dtype=torch.float64)
    inverse = torch.linalg.inv(torch.from_numpy(square))

    def project(v, p):
        return feasible_set.bind(p).project(v)

    y, tangent = torch.func.jvp(lambda p: project(v, p), (values,), (torch.ones_like(values),))
    torch.testing.assert_close(y, values @ inverse.mT)
    torch.testing.assert_close(tangent, torch.ones_like(values) @ inverse.mT)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        jacobian = torch.func.vmap(transform(project, argnums=1))(v, values)
        torch.testing.assert_close(jacobian, inverse.expand(2, 2, 2))
    compiled = torch.compile(project, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(v, values), y)


def least_infeasible(name):
    """Return a set that is empty, with the values of its parameters."""
    x = cp.Variable(3)
    if name == "rows with parameters":
        matrix, limits = cp.Parameter((2, 3)), cp.Parameter(2)
        rows = torch.tensor([[1.0, 0.4, 0.7], [0.5, 1.0, 0.2]]).double()
        return FeasibleSet([matrix @ x <= limits, x >= 0], x, [matrix, limits], on_failure="nearest"), (
            rows,
            torch.tensor([-1.0, -2.0]).double(),
        )
    low, high, least = cp.Parameter(2), cp.Parameter(2), cp.Parameter(3)
    constraints = [MATRIX[:2, :3] @ x >= low, MATRIX[:2, :3] @ x <= high, x >= least]
    values = [[0.3, 0.2], [0.5, 0.4], [2.0, 2.0, 2.0]]
    if name == "crossed bounds":
        values = [[0.6, 0.2], [0.5, 0.4], [-9.0, -9.0, -9.0]]
    return FeasibleSet(constraints, x, [low, high, least], on_failure="nearest"), [
        torch.tensor(t).double() for t in values
    ]


@pytest.mark.parametrize("name", ["two-sided rows", "crossed bounds", "rows with parameters"])
def test_derivatives_of_least_infeasible_points(name):
    feasible_set, values = least_infeasible(name)
    v = torch.randn(3, dtype=torch.float64)
    assert int(feasible_set.bind(*values).solve(v).status) == Status.INFEASIBLE
    inputs = [t.requires_grad_() for t in (v, *values)]
    torch.autograd.gradcheck(
        lambda v, *p: feasible_set.bind(*p).project(v), inputs, eps=1e-4, atol=1e-5, rtol=1e-4, check_forward_ad=False
    )


def test_no_warning_where_all_is_solved():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeasibleSet([cp.norm1(x := cp.Variable(3)) <= 1, x[0] <= x[1]], on_failure="nearest").project(torch.randn(4, 3))
