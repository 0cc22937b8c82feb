"""Spectral sets where the laws do not look: repeated values, sizes, scales, and constraints that are almost theirs."""

import itertools

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError
from optlayers.parametric.range import Range
from optlayers.parametric.sparse import nonzeros
from optlayers.parametric.symbolic import Affine
from optlayers.sets.nuclear_norm_ball import NuclearNormBall
from optlayers.sets.spectral_norm_ball import SpectralNormBall
from optlayers.sets.spectral_set import SpectralSet

ZERO = torch.zeros((), dtype=torch.float64)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def rotation(n):
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]


def with_eigenvalues(*values):
    vectors = rotation(len(values))
    return (vectors * number(values)) @ vectors.T


def with_singular_values(shape, *values):
    left, right = (rotation(size)[:, : len(values)] for size in shape)
    return (left * number(values)) @ right.T


def project(kind, v, *data):
    n, m = v.shape[-2:]
    return kind(v.new_zeros(n, m), *data).project(v.flatten(-2)).unflatten(-1, (n, m))


def in_cone(v):
    return project(SpectralSet, v, ZERO.to(v), None, None)


def in_spectraplex(v, total):
    return project(SpectralSet, v, ZERO.to(v), None, Range.fixed(total))


def in_capped_set(v, lower, upper, total):
    return project(SpectralSet, v, lower, upper, Range.fixed(total))


def in_spectral_ball(v, radius):
    return project(SpectralNormBall, v, radius)


def in_nuclear_ball(v, radius):
    return project(NuclearNormBall, v, radius)


def check_derivatives(function, *inputs):
    inputs = [t.clone().requires_grad_() for t in inputs]
    torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(function, inputs, atol=1e-4, check_fwd_over_rev=True)


@pytest.mark.parametrize("values", [(3, 1, -0.5, -2), (2, 2, -1, -1, -1), (1, 1, 1), (-1, -1)])
def test_derivatives_at_repeated_eigenvalues(values):
    check_derivatives(in_cone, with_eigenvalues(*map(float, values)))


def test_derivatives_of_sections_at_repeated_eigenvalues():
    check_derivatives(in_spectraplex, with_eigenvalues(2.0, 2.0, 1.9, -1.0, -1.0), number(1.0))
    check_derivatives(in_spectraplex, 3 * torch.eye(4, dtype=torch.float64), number(1.0))
    v = with_eigenvalues(5.0, 5.0, 0.3, 0.3, -3.0, -3.0)
    check_derivatives(in_capped_set, v, number(-0.1), number(0.9), number(2.0))


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (4, 3)])
@pytest.mark.parametrize("values", [(3, 3, 0.5), (3, 0.5, 0.5), (3, 0.5, 0), (3, 0, 0), (2, 2, 2)])
def test_derivatives_at_repeated_singular_values(shape, values):
    v = with_singular_values(shape, *map(float, values))
    check_derivatives(in_spectral_ball, v, number(1.0))
    check_derivatives(in_nuclear_ball, v, number(1.3))


@pytest.mark.parametrize("function", [in_cone, lambda v: in_spectraplex(v, number(1.0))])
def test_all_orders_of_two_modes_give_one_hessian(function):
    v, weights = with_eigenvalues(3.0, 1.0, -0.5, -2.0), torch.randn(4, 4, dtype=torch.float64)

    def value(v):
        return (function(v) * weights).sum()

    modes = (torch.func.jacrev, torch.func.jacfwd)
    first, *others = (outer(inner(value))(v) for outer in modes for inner in modes)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-13)


@pytest.mark.parametrize("function", [in_cone, lambda v: in_spectraplex(v, number(1.0))])
def test_third_derivatives_are_refused(function):
    v, weights = with_eigenvalues(3.0, 1.0, -0.5, -2.0), torch.randn(4, 4, dtype=torch.float64)

    def value(v):
        return (function(v) * weights).sum()

    for modes in itertools.product((torch.func.jacrev, torch.func.jacfwd), repeat=3):
        own = value
        for mode in modes:
            own = mode(own)
        with pytest.raises(NotImplementedError, match="third derivatives"):
            own(v)
    v.requires_grad_()
    (gradient,) = torch.autograd.grad(value(v), v, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), v, create_graph=True)
    with pytest.raises(RuntimeError, match="third derivatives"):
        torch.autograd.grad(second.sum(), v)


@pytest.mark.parametrize("size", [1e-150, 1e-9, 1.0, 1e9, 1e100])
@pytest.mark.parametrize("radius", [0.0, 1e-9, 1.0, 1e9])
def test_scales(size, radius):
    v = size * torch.randn(5, 4, 6, dtype=torch.float64)
    radius = number(radius).requires_grad_()
    for function, order in ((in_spectral_ball, torch.inf), (in_nuclear_ball, 1)):
        v.requires_grad_()
        y = function(v, radius)
        length = torch.linalg.vector_norm(torch.linalg.svdvals(y), order, dim=-1)
        assert bool((length <= radius * (1 + 1e-13) + 1e-300).all())
        fits = torch.linalg.vector_norm(torch.linalg.svdvals(v), order, dim=-1) < radius
        assert torch.equal(y[fits], v[fits])
        for gradient in torch.autograd.grad(y.sum(), [v, radius]):
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [in_cone, in_spectraplex, in_spectral_ball, in_nuclear_ball])
def test_gradients_of_values_of_very_different_sizes_are_finite(function, dtype):
    sizes = torch.logspace(-30, 10, 6, dtype=dtype)
    v = (torch.randn(50, 6, 6, dtype=dtype) * sizes * sizes.unsqueeze(-1)).requires_grad_()
    data = () if function is in_cone else (torch.tensor(1e-3, dtype=dtype, requires_grad=True),)
    y = function(v, *data)
    assert bool(y.isfinite().all())
    (gradient,) = torch.autograd.grad(y.sum(), v, create_graph=True)
    assert bool(gradient.isfinite().all())
    (second,) = torch.autograd.grad((gradient * torch.randn_like(v)).sum(), v)
    assert bool(second.isfinite().all())


def test_the_nearest_point_by_its_definition():
    v = 2 * torch.randn(20, 12, 12, dtype=torch.float64)
    z = torch.randn(30, 12, 12, dtype=torch.float64)
    for function, *data in ((in_cone,), (in_spectraplex, 1.0), (in_spectral_ball, 1.0), (in_nuclear_ball, 1.0)):
        data = list(map(number, data))
        y, inside = function(v, *data), function(z, *data)
        products = torch.einsum("bij,cbij->cb", v - y, inside.unsqueeze(1) - y)
        assert float(products.max()) <= 1e-12


@pytest.mark.parametrize(
    ("attributes", "shape", "build", "label"),
    [
        ({"PSD": True}, (60, 60), lambda x: [cp.trace(x) == 1], "spectraplex"),
        ({}, (120, 80), lambda x: [cp.sigma_max(x) <= 1], "spectral norm ball"),
        ({}, (20, 30), lambda x: [cp.normNuc(x) <= 1], "nuclear norm ball"),
    ],
)
def test_large_matrices(attributes, shape, build, label):
    x = cp.Variable(shape, **attributes)
    feasible_set = FeasibleSet(build(x))
    assert feasible_set.explain().startswith(f"- {label}")
    v = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = feasible_set.project(v)
    x.save_value(y.detach().numpy())
    assert all(float(np.max(constraint.violation())) <= 1e-10 for constraint in feasible_set.constraints)
    (gradient,) = torch.autograd.grad((y * v.detach()).sum(), v)
    assert bool(gradient.isfinite().all())


def test_products_of_matrices_run_as_one_call():
    x = [cp.Variable((3, 3), PSD=True) for _ in range(4)]
    feasible_set = FeasibleSet([cp.trace(one) == k + 1 for k, one in enumerate(x)], x)
    assert feasible_set.method == "closed_form"
    assert len(feasible_set.compiled.pieces) == 1
    v = torch.randn(4, 3, 3, dtype=torch.float64)
    for k, y in enumerate(feasible_set.project(*v)):
        torch.testing.assert_close(y, in_spectraplex(v[k], number(k + 1.0)))


WEIGHTS = np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [x >> 0, x[0, 0] + 2 * x[1, 1] + x[2, 2] == 1],
        lambda x: [x >> 0, cp.trace(x) + x[0, 1] == 1],
        lambda x: [x >> 0, cp.trace(x) == 1, cp.trace(WEIGHTS @ x) <= 2],
        lambda x: [x >> 0, x[0, 0] <= 1],
        lambda x: [cp.multiply(WEIGHTS, x) >> 0],
        lambda x: [np.diag([1.0, 2, 3]) @ x @ np.diag([1.0, 2, 3]) >> 0],
        lambda x: [x >> np.diag([1.0, 0, 0]), x << 2 * np.eye(3)],
        lambda x: [x >> np.diag([1.0, 0, 0]), x >> np.diag([0, 1.0, 0])],
        lambda x: [cp.sigma_max(x - np.triu(np.ones((3, 3)))) <= 5],
        lambda x: [cp.normNuc(x - np.triu(np.ones((3, 3)))) <= 5],
        lambda x: [cp.normNuc(x) <= 1, x >> 0],
        lambda x: [cp.normNuc(x) <= 1, cp.trace(x) == 0.5],
        lambda x: [cp.sigma_max(cp.multiply(WEIGHTS, x)) <= 1],
        lambda x: [cp.sigma_max(x[:2]) <= 1],
        lambda x: [cp.lambda_sum_largest(x, 2) <= 1],
    ],
)
def test_almost_spectral_sets_are_left_to_the_general_solver(build):
    assert FeasibleSet(build(cp.Variable((3, 3), name="x", symmetric=True))).method == "general"


def test_a_cone_with_another_matrix_in_place_of_the_identity():
    x = cp.Variable((2, 2))
    for top, bottom in ((np.diag([1.0, 2.0]), np.eye(2)), (np.eye(2), 2 * np.eye(2)), (np.ones((2, 2)), np.eye(2))):
        assert FeasibleSet([cp.bmat([[top, x], [x.T, bottom]]) >> 0]).method == "general"
    w = cp.Variable((4, 4), symmetric=True)
    for trace in (cp.trace(w[:2, :2]) + 2 * cp.trace(w[2:, 2:]), cp.trace(w) + w[0, 1], cp.trace(w[:2, :2])):
        assert FeasibleSet([w >> 0, w[:2, 2:] == x, trace <= 1], x).method == "general"


def test_empty_sets_name_their_constraints():
    x = cp.Variable((2, 2), symmetric=True, name="x")
    cases = [
        ([x >> 0, x << 3 * np.eye(2), cp.trace(x) == -1], (0, 2)),
        ([x >> 0, x << 3 * np.eye(2), cp.trace(x) == 7], (1, 2)),
        ([x >> np.eye(2), x << -np.eye(2)], (0, 1)),
        ([cp.sigma_max(x) <= 1, cp.trace(x) >= 3], (0, 1)),
        ([cp.normNuc(x) <= -1], (0,)),
    ]
    for constraints, blamed in cases:
        with pytest.raises(InfeasibleError) as info:
            FeasibleSet(constraints, x)
        for k in range(len(constraints)):
            assert any(f"constraint {k} " in name for name in info.value.constraints) == (k in blamed)


def test_the_nearest_point_of_an_empty_set_has_the_least_squared_violations():
    x, total = cp.Variable((3, 3), symmetric=True), cp.Parameter()
    constraints, v = [x >> 0, cp.trace(x) == total], torch.randn(4, 3, 3, dtype=torch.float64)
    y = FeasibleSet(constraints, x, [total], on_failure="nearest").bind(-1.0).project(v)
    slack = cp.Variable((3, 3), symmetric=True)
    cp.Problem(cp.Minimize(cp.sum_squares(slack) + (cp.trace(x) + 1) ** 2), [x + slack >> 0]).solve(cp.CLARABEL)
    torch.testing.assert_close(y, torch.from_numpy(x.value).expand(4, 3, 3), rtol=0, atol=1e-5)


def test_rows_and_cones_of_large_blocks_stay_sparse():
    x, p = cp.Variable((40, 40), symmetric=True), cp.Parameter()
    feasible_set = FeasibleSet([x >> p * np.eye(40), cp.trace(x) <= 1], x, [p])
    (block,) = feasible_set.compiled.pieces[0].blocks
    normals = [cone.normals for cone in block.cones] + [row.normal for row in block.rows]
    assert not any("constant" in vars(normal) for normal in normals)
    dense = Affine(block.cones[0].normals.constant, block.cones[0].normals.linear)
    for one, other in zip(nonzeros(dense), nonzeros(block.cones[0].normals), strict=True):
        np.testing.assert_array_equal(one, other)
