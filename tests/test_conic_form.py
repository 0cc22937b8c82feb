"""The compiler carries every cone, and binding is CVXPY's own map from parameters to data."""

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone

from optlayers.compiler import canonicalise
from optlayers.compiler.presolve import presolve
from optlayers.cones.triangle import to_matrix
from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import Values
from optlayers.projection.residual import Residual, RowsMap


def values(*tensors):
    flat = tuple(t.double().reshape(*t.shape[: t.ndim - 1], -1) for t in tensors)
    return Values(flat, torch.float64, torch.device("cpu"))


def compile_constraints(*declared):
    return canonicalise.compile_constraints(Snapshot.of(*declared, range(len(declared[0]))))[0]


def test_every_cone_is_carried():
    x = cp.Variable(3)
    form = compile_constraints(
        [
            x[0] == 1,
            x >= -1,
            cp.norm(x) <= 2,
            cp.exp(x[0]) <= x[1] + 5,
            cp.constraints.PowCone3D(x[0], x[1], x[2], 0.3),
            cp.constraints.PowConeND(x[:2] + 1, x[2], np.array([0.4, 0.6])),
            cp.bmat([[x[0], x[1]], [x[1], x[2]]]) >> 0,
        ],
        [x],
        [],
    )
    assert len(form.equalities) == 1
    assert len(form.inequalities) >= 3
    assert {cone.kind for cone in form.cones} == {"soc", "exp", "pow", "psd"}
    assert {cone.alpha for cone in form.cones if cone.kind == "pow"} >= {0.3}


def test_semidefinite_cones_constrain_the_symmetric_part():
    x = cp.Variable((3, 3))
    (cone,) = compile_constraints([x >> 0], [x], []).cones
    matrix = np.arange(9.0).reshape(3, 3) ** 2
    vector = cone.rows.matrix @ matrix.ravel()
    np.testing.assert_allclose(to_matrix(torch.from_numpy(vector)), (matrix + matrix.T) / 2)
    np.testing.assert_allclose(np.linalg.norm(vector), np.linalg.norm((matrix + matrix.T) / 2))


def test_binding_is_cvxpys_map():
    x, p, q = cp.Variable((2, 3)), cp.Parameter((4, 2)), cp.Parameter(3)
    constraints = [p @ x <= 1, cp.multiply(q, x[0]) + q[::-1] >= 0, cp.norm(x @ q) <= q[1] + 7, x[:, 0] == p[0]]
    form = compile_constraints(constraints, [x], [p, q])
    rng = np.random.default_rng(0)
    p.value, q.value = rng.normal(size=(4, 2)), rng.normal(size=3)
    reduced, _ = Dcp2Cone().apply(cp.Problem(cp.Minimize(0), constraints))
    program, _ = ConeMatrixStuffing().apply(reduced)
    _, _, a, b = program.apply_parameters()
    rows = form.rows
    maps, matrix_map = RowsMap(rows, [0, 8]), rows.on(np.arange(rows.n)).compile([0, 8])
    bound = values(torch.tensor(p.value).flatten(), torch.tensor(q.value))
    order = np.concatenate([program.var_id_to_col[x.id] + np.arange(6).reshape(2, 3, order="F").ravel()])
    auxiliary = np.setdiff1d(np.arange(a.shape[1]), order)
    expected = sp.csc_array(a)[:, np.append(order, auxiliary)].toarray()
    order_of_rows = np.lexsort(np.column_stack([b, expected]).round(9).T)
    matrix, offset = matrix_map(bound).numpy(), maps.offset(bound).numpy()
    own_order = np.lexsort(np.column_stack([offset, matrix]).round(9).T)
    np.testing.assert_allclose(matrix[own_order], expected[order_of_rows], atol=1e-12)
    np.testing.assert_allclose(offset[own_order], b[order_of_rows], atol=1e-12)
    y = torch.randn(5, a.shape[1], dtype=torch.float64)
    torch.testing.assert_close(maps(y, bound), y @ matrix_map(bound).T + maps.offset(bound))


def test_binding_is_differentiable_and_batched():
    x, p = cp.Variable(3), cp.Parameter((2, 3))
    form = compile_constraints([p @ x <= p[:, 0]], [x], [p])
    maps, matrix_map = RowsMap(form.inequalities, [0]), form.inequalities.on(np.arange(3)).compile([0])
    p_values = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert matrix_map(values(p_values)).shape == (4, 2, 3)
    torch.autograd.gradcheck(lambda t: matrix_map(values(t)), p_values)
    torch.autograd.gradcheck(lambda t: maps.offset(values(t)), p_values, check_forward_ad=True)
    y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda y, t: maps(y, values(t)), (y, p_values))


def test_constant_data_cost_nothing():
    x = cp.Variable(3)
    form = compile_constraints([x <= np.arange(3.0)], [x], [])
    offset = form.inequalities.offset.compile([])
    assert offset(values()).data_ptr() == offset(values()).data_ptr()


@pytest.mark.parametrize(
    ("build", "inside", "outside"),
    [
        (lambda x: cp.exp(x[0]) <= x[1], [0.0, 1.5, 0], [1.0, 1.0, 0]),
        (lambda x: cp.constraints.PowCone3D(x[0], x[1], x[2], 0.3), [1, 2, -1], [1, 1, 3]),
        (lambda x: cp.norm(x[1:]) <= x[0], [2, 1, 1], [1, 1, 1]),
        (lambda x: cp.bmat([[x[0], x[1]], [x[1], x[2]]]) >> 0, [1, 1, 2], [1, 2, 1]),
    ],
)
def test_residual_vanishes_inside_only(build, inside, outside):
    x = cp.Variable(3)
    form = presolve(compile_constraints([build(x)], [x], []))
    assert form.auxiliary == 0
    residual = Residual(form, [])
    points = torch.tensor([inside, outside], dtype=torch.float64)
    violation = residual(points, values()).abs().amax(-1)
    assert float(violation[0]) <= 1e-12
    assert float(violation[1]) > 0.1


def test_derivatives_of_the_semidefinite_residual():
    x = cp.Variable((3, 3))
    residual = Residual(presolve(compile_constraints([x >> 0], [x], [])), [])
    point = torch.diag(torch.tensor([-1.0, -1.0, 2.0], dtype=torch.float64)).flatten().requires_grad_()
    torch.autograd.gradcheck(lambda y: residual(y, values()), point)
    (gradient,) = torch.autograd.grad(
        residual(-point.detach().requires_grad_(), values()).sum(), point, allow_unused=True, materialize_grads=True
    )
    assert bool(gradient.isfinite().all())


def test_exponential_residual_far_out():
    x = cp.Variable(2)
    residual = Residual(presolve(compile_constraints([cp.exp(x[0]) <= x[1]], [x], [])), [])
    points = torch.tensor([[100.0, 1e36], [100.0, 3e43], [1.0, -1.0], [800.0, 1.0]], dtype=torch.float64)
    violation = residual(points, values()).abs().amax(-1)
    assert (violation > 1e-3).tolist() == [True, False, True, True]
    assert bool(violation.isfinite().all())


def test_presolve_keeps_the_set():
    x, z = cp.Variable(3), cp.Variable(3)
    constraints = [z == 2 * x, cp.norm(z) <= 3, cp.sum(cp.square(x - 1)) <= 4, cp.max(cp.abs(x)) <= 1.2, x[0] <= np.inf]
    form = presolve(compile_constraints(constraints, [x], []))
    assert form.auxiliary == 0
    residual = Residual(form, [])
    for point in np.random.default_rng(0).normal(size=(200, 3)):
        x.value, z.value = point, 2 * point
        inside = max(float(np.max(c.violation())) for c in constraints) <= 1e-9
        y = torch.tensor(point)
        assert inside == bool(residual(y, values()).abs().max() <= 1e-9)
