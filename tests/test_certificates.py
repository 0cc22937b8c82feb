"""Optimality conditions of the general solver's answers, and dual variables against CVXPY's."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet

MATRIX = np.array([[1.0, 0.4, -1.0, 2.2], [-1.0, 1.0, 0.2, -0.1], [0.1, 1.5, 0.8, 0.1]])
POINT = np.array([1.0, 2.0, -1.0, 0.5])
SQUARE = np.array([[1.0, 2.0], [0.0, -3.0]])

CERTIFICATES = {
    "inequalities": (POINT, lambda x: [MATRIX @ x <= [0.1, 0.2, 0.3], x >= -0.2]),
    "an equality": (POINT, lambda x: [cp.sum(x) == 1, x >= 0, MATRIX[0] @ x <= 0.2]),
    "a cone": (POINT, lambda x: [cp.SOC(x[0], x[1:])]),
    "two cones, rows": (POINT, lambda x: [cp.SOC(x[0], x[1:]), cp.SOC(1.5 - x[3], MATRIX @ x), 2 * x[1] <= 1]),
    "a semidefinite cone": (SQUARE, lambda x: [x >> 0, cp.trace(x) == 1]),
    "an exponential cone": (np.array([1.0, 0.5, -1.0]), lambda x: [cp.ExpCone(x[0], x[1], x[2])]),
    "exponential cone, caps": (np.array([1.0, 0.5, -1.0]), lambda x: [cp.ExpCone(x[0], x[1], x[2]), x[2] <= 0.8]),
    "a power cone": (np.array([1.0, 0.5, 2.0]), lambda x: [cp.PowCone3D(x[0], x[1], x[2], 0.3)]),
    "power cone, caps": (np.array([1.0, 2.5, 2.0]), lambda x: [cp.PowCone3D(x[0], x[1], x[2], 0.3), x[1] <= 1.2]),
}


def arrays(dual):
    """Return one array per argument of a constraint."""
    return [part.numpy()[0] for part in (dual if isinstance(dual, tuple) else (dual,))]


def depth(constraint, values, dual=False):
    """Return by how much values are inside of a constraint's cone, or of its dual cone: negative outside."""
    if isinstance(constraint, cp.constraints.Equality):
        return 0.0 if dual else -float(np.abs(values[0]).max())
    if isinstance(constraint, cp.constraints.Inequality):
        return float(values[0].min()) if dual else -float(values[0].max())
    if isinstance(constraint, cp.constraints.PSD):
        return float(np.linalg.eigvalsh((values[0] + values[0].T) / 2)[0])
    if isinstance(constraint, cp.constraints.SOC):
        return float(values[0].item() - np.linalg.norm(values[1]))
    x, y, z = (float(np.squeeze(value)) for value in values)
    if isinstance(constraint, cp.constraints.ExpCone):
        return z * np.e + x * np.exp(y / x) if dual else z - y * np.exp(x / y)
    alpha = float(np.squeeze(constraint.alpha.value))
    if dual:
        x, y = x / alpha, y / (1 - alpha)
    return x**alpha * y ** (1 - alpha) - abs(z)


def solve_with_duals(name):
    v, build = CERTIFICATES[name]
    x = cp.Variable(v.shape, name="x")
    constraints = build(x)
    solution = FeasibleSet(constraints, x, method="general").solve(torch.from_numpy(v)[None])
    assert solution.solved.all()
    return v, x, constraints, solution.value[0].numpy(), [arrays(dual) for dual in solution.dual]


@pytest.mark.parametrize("name", CERTIFICATES)
def test_optimality_conditions_hold(name):
    v, x, constraints, y, duals = solve_with_duals(name)
    x.value = y
    stationarity = (y - v).ravel(order="F")
    for constraint, parts in zip(constraints, duals, strict=True):
        is_row = isinstance(constraint, (cp.constraints.Inequality, cp.constraints.Equality))
        arguments = [constraint.expr] if is_row else constraint.args
        values = [np.asarray(argument.value) for argument in arguments]
        assert depth(constraint, values) >= -1e-9
        assert depth(constraint, parts, dual=True) >= -1e-8
        product = sum(float(np.ravel(p) @ np.ravel(value)) for p, value in zip(parts, values, strict=True))
        assert abs(product) <= 1e-8  # complementarity
        for part, argument in zip(parts, arguments, strict=True):
            sign = 1 if is_row else -1
            stationarity = stationarity + sign * argument.grad[x] @ np.ravel(part, order="F")
    np.testing.assert_allclose(stationarity, 0, atol=1e-7)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_duals_are_those_of_cvxpy(name):
    v, x, constraints, y, duals = solve_with_duals(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - v)), constraints).solve(
            cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11
        )
    np.testing.assert_allclose(y, x.value, atol=1e-5)
    for constraint, parts in zip(constraints, duals, strict=True):
        expected = constraint.dual_value if isinstance(constraint.dual_value, list) else [constraint.dual_value]
        for part, other in zip(parts, expected, strict=True):
            np.testing.assert_allclose(part, np.asarray(other).reshape(part.shape), atol=1e-4)
