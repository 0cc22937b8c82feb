"""The general solver: failures, warm starts, and the contract of the layer for its sets."""

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from general_examples import EXAMPLES, LIMITS, MATRIX, budget, cut_ball, number

from optlayers import FeasibleSet, InfeasibleError, ProjectionLayer, Status
from optlayers.errors import NotSolvedError


def test_status_of_each_sample():
    v = torch.randn(4, 4, dtype=torch.float64)
    v[3, 1] = torch.inf
    solution = budget(on_failure="nan").solve(v, LIMITS, number(1.0, -1.0, 0.5, 1.0))
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED, Status.INVALID]
    assert solution.value.isnan().all(-1).tolist() == [False, True, False, True]
    assert solution.residual[[0, 2]].max() <= 1e-9
    assert solution.steps.shape == (4,)
    alone = budget()(v[[0, 2]], LIMITS, number(1.0, 0.5))
    torch.testing.assert_close(solution.value[[0, 2]], alone, rtol=0, atol=1e-12)
    solution = cut_ball(on_failure="nan").solve(v, number(1.0, 0.5, -1.0, 1.0))
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.INFEASIBLE, Status.INVALID]


def named(info):
    return [label.split(" (")[0] for label in info.value.constraints]


def test_the_error_names_a_minimal_group_and_the_rows():
    v = torch.randn(5, 4, dtype=torch.float64)
    with pytest.raises(InfeasibleError, match=r"3 of 5 samples \(rows 1, 2, 4\)") as info:
        budget()(v, LIMITS, number(1.0, -1.0, -3.0, 0.5, -2.0))
    assert named(info) == ["constraint 0", "constraint 2"]
    assert info.value.rows == (1, 2, 4)
    with pytest.raises(InfeasibleError, match=r"row 1") as info:
        budget()(v[:2], torch.stack([LIMITS, number(1.0, -9.0, 1.2)]), number(1.0, 1.0))
    assert named(info) == ["constraint 0", "constraint 1"]
    with pytest.raises(InfeasibleError) as info:
        cut_ball()(v[:3], number(1.0, 0.5, 2.0))
    assert named(info) == ["constraint 0", "constraint 1"]
    assert info.value.rows == (1,)
    with pytest.raises(InfeasibleError) as info:
        cut_ball()(v[:1], -1.0)
    assert named(info) == ["constraint 0"]


def test_two_conflicts_have_a_group_each():
    with pytest.raises(InfeasibleError) as info:
        budget()(torch.zeros(2, 4), torch.stack([LIMITS, number(1.0, -9.0, 1.2)]), number(-1.0, 1.0))
    message = str(info.value)
    assert "row 0" in message
    assert "row 1" in message
    assert info.value.rows == (0, 1)
    assert named(info) == ["constraint 0", "constraint 2", "constraint 1"]


def test_constant_conflicts_are_found_when_the_set_is_made():
    x = cp.Variable(3, name="x")
    constraints = [x >= 0, x[0] + x[1] <= 1, x[1] + x[2] <= 5, x[0] + 2 * x[1] + x[2] >= 5.5, x <= 2]
    with pytest.raises(InfeasibleError) as info:
        FeasibleSet(constraints, x)
    assert named(info) == ["constraint 1", "constraint 3", "constraint 4"]


def test_the_nearest_point_has_least_squares_of_violations():
    x, p = cp.Variable(2, name="x"), cp.Parameter(name="p")
    layer = ProjectionLayer(
        [0.6 * x[0] - 0.8 * x[1] <= 0, 0.6 * x[0] + 0.8 * x[1] <= 0, x[0] >= p], x, [p], on_failure="nearest"
    )
    v = number([0.0, 0.0], [3.0, -1.0], [-3.0, -1.0])
    # with x[1] = 0, rows are violated by 0.6 x[0] and the bound by p - x[0]: 0.72 x[0]^2 + (p - x[0])^2 is least
    solution = layer.solve(v, number(1.72, 1.72, -5.0))
    assert solution.status.tolist() == [Status.INFEASIBLE, Status.INFEASIBLE, Status.SOLVED]
    torch.testing.assert_close(solution.value, number([1.0, 0.0], [1.0, 0.0], [-3.0, -1.0]), rtol=0, atol=1e-7)


def test_the_nearest_point_of_a_ball_and_a_plane_apart():
    x, p = cp.Variable(2, name="x"), cp.Parameter(name="p")
    layer = ProjectionLayer([cp.norm(x) <= 1, x[0] >= p], x, [p], on_failure="nearest")
    y = layer(number([0.0, 0.0]), number(3.0))
    # violations of (t, x) in the cone and of the row: t <= 1 is constant, so (x0 - 1) / sqrt 2 against 3 - x0
    torch.testing.assert_close(y, number([7 / 3, 0.0]), rtol=0, atol=1e-5)


def test_what_cannot_be_solved_is_said():
    x = cp.Variable(3, name="x")
    constraints = [cp.norm(x) <= 1, x[0] >= 1]  # one point, without Slater's condition: duals are unbounded
    v = number([2.0, 1.0, 0.0], [3.0, 0.0, 0.0])
    solution = FeasibleSet(constraints, x, method="general", on_failure="nan").solve(v)
    assert solution.status.tolist() == [Status.UNSOLVED, Status.SOLVED]
    assert solution.value.isnan().any(-1).tolist() == [True, False]
    with pytest.raises(NotSolvedError, match=r"did not reach its accuracy for 1 of 2 samples \(row 0\)") as info:
        FeasibleSet(constraints, x, method="general").project(v)
    assert list(info.value.rows) == [0]
    assert list(pickle.loads(pickle.dumps(info.value)).rows) == [0]
    with pytest.warns(RuntimeWarning, match="did not reach its accuracy"):
        FeasibleSet(constraints, x, method="general", on_failure="warn").project(v)


@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES.keys())
@pytest.mark.parametrize("batch", [(), (2, 3), (0,), (2, 0)])
def test_batch_dimensions(make, batch):
    layer, values = make()
    v = torch.randn(*batch, 4, dtype=torch.float64, requires_grad=True)
    y = layer(v, *values)
    assert y.shape == v.shape
    flat, out = v.reshape(-1, 4), y.reshape(-1, 4)
    for one, other in zip(flat, out, strict=True):
        torch.testing.assert_close(layer(one, *values), other, rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(y.sum(), v)
    assert gradient.shape == v.shape
    solution = layer.solve(v.detach(), *values)
    assert solution.status.shape == solution.residual.shape == solution.steps.shape == batch


@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_dtypes(make):
    layer, values = make()
    single = tuple(value.float() for value in values)
    v = 2 * torch.randn(16, 4, dtype=torch.float64)
    exact = layer(v, *values)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        own = v.to(dtype).requires_grad_()
        y = layer(own, *single)
        y.sum().backward()
        assert y.dtype == own.grad.dtype == dtype
        torch.testing.assert_close(y.double(), exact, rtol=0, atol=tolerance)
        assert own.grad.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(v.float(), *single)
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e6, 1e8])
@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_huge_points(make, size):
    layer, values = make()
    v = size * torch.randn(6, 4, dtype=torch.float64)
    v.requires_grad_()
    solution = layer.solve(v, *values)
    assert solution.residual.max() <= 1e-9 * size
    direction = v.detach() - solution.value.detach()
    others = layer(torch.randn(20, 4, dtype=torch.float64), *values)
    products = ((others[:, None] - solution.value.detach()) * direction).sum(-1)
    assert float(products.max()) <= 1e-9 * size * size
    (gradient,) = torch.autograd.grad(solution.value.sum(), v)
    assert gradient.isfinite().all()


def test_gradients_inside_are_the_identity_and_zero():
    v = number([0.3, 0.3, 0.3, 0.1], [0.4, 0.2, 0.1, 0.3])
    v = v * (1.5 / v.sum(-1, keepdim=True))
    x, limits, radius = cp.Variable(4, name="x"), cp.Parameter(3), cp.Parameter()
    layer = ProjectionLayer([MATRIX @ x <= limits, cp.norm(x) <= radius, x >= 0], x, [limits, radius])
    leaves = [v.requires_grad_(), (LIMITS + 5).requires_grad_(), number(9.0).squeeze().requires_grad_()]
    y = layer(*leaves)
    torch.testing.assert_close(y, v, rtol=0, atol=1e-10)
    weights = torch.randn(2, 4, dtype=torch.float64)
    point, *parameters = torch.autograd.grad((y * weights).sum(), leaves)
    torch.testing.assert_close(point, weights, rtol=0, atol=1e-9)
    assert all((gradient == 0).all() for gradient in parameters)


def test_equalities_that_fix_everything():
    x, p = cp.Variable(2, name="x"), cp.Parameter(2, name="p")
    square = np.array([[1.0, 2.0], [3.0, -1.0]])
    layer = ProjectionLayer([square @ x == p, x <= 10, x[0] - x[1] <= 20], x, [p], method="general")
    p = number([1.0, 2.0], [0.0, -1.0]).requires_grad_()
    v = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    y = layer(v, p)
    inverse = torch.linalg.inv(torch.from_numpy(square))
    torch.testing.assert_close(y, p @ inverse.mT, rtol=0, atol=1e-9)
    of_v, of_p = torch.autograd.grad(y[:, 0].sum(), [v, p])
    torch.testing.assert_close(of_v, torch.zeros_like(v), rtol=0, atol=1e-9)
    torch.testing.assert_close(of_p, inverse[0].expand(2, 2), rtol=0, atol=1e-9)
    with pytest.raises(InfeasibleError):
        layer(v, 100 * p.detach())


BOUNDARIES = {
    "ball": (4, lambda x: [cp.norm(x) <= 1, x[0] + x[1] <= 0.3]),
    "cone": (4, lambda x: [cp.SOC(x[0], x[1:]), cp.sum(x) <= 1]),
    "matrices": ((3, 3), lambda x: [x >> 0, cp.trace(x) <= 1, x[0, 1] <= 0.1, x == x.T]),
    "entropy": (3, lambda x: [cp.sum(cp.entr(x)) >= 0.6, cp.sum(x) == 1]),
    "power": (3, lambda x: [cp.PowCone3D(x[0], x[1], x[2], 0.4), x[0] <= 1]),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_points_on_the_boundary_stay(name):
    shape, build = BOUNDARIES[name]
    x = cp.Variable(shape, name="x")
    feasible_set = FeasibleSet(build(x), x, method="general")
    y = feasible_set.project(2 * torch.randn(12, *x.shape, dtype=torch.float64)).requires_grad_()
    again = feasible_set.project(y)
    torch.testing.assert_close(again, y, rtol=0, atol=1e-8)
    (gradient,) = torch.autograd.grad(again.sum(), y)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_export(make):
    layer, values = make()
    v = torch.randn(3, 4, dtype=torch.float64)
    program = torch.export.export(layer, (v, *values))
    torch.testing.assert_close(program.module()(v, *values), layer(v, *values), rtol=0, atol=1e-9)


def test_compile_keeps_bad_samples_apart():
    layer = budget(on_failure="nan")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    v = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    totals = number(1.0, -1.0, 0.5)
    y = compiled(v, LIMITS, totals)
    assert y.isnan().all(-1).tolist() == [False, True, False]
    y[[0, 2]].square().sum().backward()
    expected = torch.autograd.grad(layer(v, LIMITS, totals)[[0, 2]].square().sum(), v)[0]
    torch.testing.assert_close(v.grad, expected, rtol=0, atol=1e-9)
    assert v.grad.isfinite().all()


def test_vmap_over_matrix_parameters():
    x, matrix = cp.Variable(4, name="x"), cp.Parameter((3, 4), name="matrix")
    layer = ProjectionLayer([matrix @ x <= 0.5, x >= -1], x, [matrix])
    v = torch.randn(5, 4, dtype=torch.float64)
    matrices = torch.from_numpy(MATRIX) + 0.3 * torch.randn(5, 3, 4, dtype=torch.float64)
    y = layer(v, matrices)
    torch.testing.assert_close(torch.func.vmap(layer)(v, matrices), y, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        torch.func.vmap(layer, in_dims=(None, 0))(v, matrices),
        torch.stack([layer(v, own) for own in matrices]),
        rtol=0,
        atol=1e-11,
    )
    torch.testing.assert_close(
        torch.func.vmap(layer, in_dims=(1, None))(v.mT.contiguous(), matrices[0]), layer(v, matrices[0])
    )
    jacobians = torch.func.vmap(torch.func.jacrev(layer, argnums=1))(v, matrices)
    forward = torch.func.vmap(torch.func.jacfwd(layer, argnums=1))(v, matrices)
    torch.testing.assert_close(jacobians, forward, rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_copies(make):
    layer, values = make()
    v = torch.randn(3, 4, dtype=torch.float64)
    y = layer(v, *values)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(v, *values), y)
        assert other.method == "general"
    assert layer.state_dict() == {}
