"""Transport polytopes against linear programming, at scales and degeneracies where methods fail."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from optlayers import FeasibleSet, InfeasibleError

KINDS = ("fixed", "capacities", "partial", "ranges", "sparse")


def make(kind, m, n, rng, *, degenerate=False):
    """Return CVXPY constraints, and the same set as rows for a linear programme."""
    x = cp.Variable((m, n))
    rows, columns = (
        (np.full(m, float(n)), np.full(n, float(m))) if degenerate else (rng.uniform(0.5, 1.5, k) for k in (m, n))
    )
    columns = columns * rows.sum() / columns.sum()
    plan = np.outer(rows, columns) / rows.sum()
    upper = np.full((m, n), np.inf)
    low, high = np.concatenate([rows, columns]), np.concatenate([rows, columns])
    if kind == "capacities":
        upper = (1 if degenerate else 2) * plan + (rng.random((m, n)) < 0.5) * plan
    elif kind == "partial":
        low[:m], low[m:], high[m:] = -np.inf, 0.8 * columns, 0.8 * columns
    elif kind == "ranges":
        low, high = 0.9 * low, 1.1 * high
    elif kind == "sparse":
        upper[(rng.random((m, n)) < 0.4) & (np.add.outer(np.arange(m), np.arange(n)) % m > 1)] = 0
        low = high = np.concatenate([np.where(upper > 0, plan, 0).sum(k) for k in (1, 0)])
    sums = cp.hstack([cp.sum(x, axis=1), cp.sum(x, axis=0)])
    fixed = low == high
    constraints = [x >= 0, sums[np.flatnonzero(fixed)] == low[fixed]] if fixed.any() else [x >= 0]
    constraints += [sums[k] >= low[k] for k in np.flatnonzero(~fixed & np.isfinite(low))]
    constraints += [sums[k] <= high[k] for k in np.flatnonzero(~fixed & np.isfinite(high))]
    constraints += [x <= np.minimum(upper, 100.0)] if np.isfinite(upper).any() else []
    return x, constraints, (low, high, upper)


def gap(y, v, low, high, upper):
    """Return ``max_z <v - y, z - y>`` over the polytope, zero just at the projection."""
    m, n = y.shape
    matrix = np.vstack([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])
    finite = np.isfinite(low)
    found = linprog(
        -(v - y).ravel(),
        np.vstack([matrix, -matrix[finite]]),
        np.concatenate([high, -low[finite]]) + 1e-12,
        bounds=np.stack([np.zeros(m * n), np.minimum(upper, 100.0).ravel()], 1),
    )
    assert found.status == 0
    return -found.fun - float((v - y).ravel() @ y.ravel())


@pytest.mark.parametrize("degenerate", [False, True])
@pytest.mark.parametrize("shape", [(2, 2), (4, 7), (9, 6)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_point_of_the_polytope_is_nearer(kind, shape, degenerate):
    rng = np.random.default_rng(3)
    x, constraints, data = make(kind, *shape, rng, degenerate=degenerate)
    feasible_set = FeasibleSet(constraints, x)
    assert feasible_set.method == "closed_form", feasible_set.explain()
    normal = rng.normal(size=(2, *shape))
    for scale in (1e-9, 1.0, 1e3, 1e9):
        points = scale * np.concatenate([3 * normal, (2 * normal).round(), normal[:1] + 1, np.ones((1, *shape))])
        for v, y in zip(points, feasible_set.project(torch.from_numpy(points)).numpy(), strict=True):
            size = max(1.0, float(np.abs(v).max()))
            total = float(np.nan_to_num(data[1], posinf=0).max())
            sums = np.concatenate([y.sum(1), y.sum(0)])
            assert y.min() >= 0
            assert (y <= data[2]).all()
            assert max((sums - data[1]).max(), (data[0] - sums).max()) <= 1e-12 * total
            assert gap(y, v, *data) <= 1e-8 * size * total * sum(shape)


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_general_solver(kind):
    rng = np.random.default_rng(4)
    x, constraints, _ = make(kind, 5, 6, rng)
    v = torch.from_numpy(2 * rng.normal(size=(8, 5, 6))).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(8, 5, 6)))
    results = []
    for method in ("closed_form", "general"):
        y = FeasibleSet(constraints, x, method=method).project(v)
        results.append((y, torch.autograd.grad((y * weights).sum(), v)[0]))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_permutation_matrices_are_their_own_projections():
    x = cp.Variable((6, 6))
    birkhoff = FeasibleSet([x >= 0, cp.sum(x, axis=0) == 1, cp.sum(x, axis=1) == 1])
    points = torch.stack([torch.eye(6, dtype=torch.float64)[torch.randperm(6)] for _ in range(10)])
    for factor in (1.0, 5.0, 1e9):
        torch.testing.assert_close(birkhoff.project(factor * points), points, rtol=0, atol=1e-15)
    jacobian = torch.autograd.functional.jacobian(birkhoff.project, 5 * points[0])
    assert float(jacobian.abs().max()) <= 1e-14


def test_totals_of_a_vertex_have_derivatives_that_keep_the_sums():
    x, rows, columns = cp.Variable((3, 3)), cp.Parameter(3), cp.Parameter(3)
    plans = FeasibleSet([x >= 0, cp.sum(x, axis=1) == rows, cp.sum(x, axis=0) == columns])
    ones, v = torch.ones(3, dtype=torch.float64), 5 * torch.eye(3, dtype=torch.float64)
    by_rows, by_columns = torch.autograd.functional.jacobian(lambda r, c: plans.bind(r, c).project(v), (ones, ones))
    change = torch.tensor([0.3, -0.1, -0.2], dtype=torch.float64), torch.tensor([0.0, 0.4, -0.4], dtype=torch.float64)
    moved = by_rows @ change[0] + by_columns @ change[1]
    torch.testing.assert_close(moved.sum(1), change[0])
    torch.testing.assert_close(moved.sum(0), change[1])


def test_a_large_plan():
    x = cp.Variable((100, 80))
    rows, columns = np.full(100, 0.8), np.full(80, 1.0)
    plans = FeasibleSet([x >= 0, cp.sum(x, axis=1) == rows, cp.sum(x, axis=0) == columns])
    v = torch.randn(100, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = plans.project(v).numpy()
    assert y.min() >= 0
    # multipliers from the free entries show that the others are rightly at zero
    free, (i, j) = y > 0, np.nonzero(y > 0)
    matrix = np.zeros((len(i), 180))
    matrix[np.arange(len(i)), i] = matrix[np.arange(len(i)), 100 + j] = 1
    slack = (v.numpy() - y)[free]
    solution = np.linalg.lstsq(matrix, slack, rcond=None)[0]
    reduced = v.numpy() - y - solution[:100, None] - solution[100:]
    assert np.abs(reduced[free]).max() <= 1e-11
    assert reduced[~free].max() <= 1e-11


@pytest.mark.parametrize(
    ("upper", "rows", "columns"),
    [
        (None, (1.0, 1.0), (1.0, 1.0)),  # unbalanced
        (np.full((3, 4), 0.2), (1.0, 1.0), (0.75, 0.75)),  # rows out of reach
        (np.array([[0.9, 0.9, 0.05, 0.05]] * 2 + [[0.9] * 4]), (1.0, 1.0), (0.75, 0.75)),  # a cut
        (None, (-np.inf, 0.7), (0.75, 1.0)),
    ],
)
def test_empty_polytopes_and_their_least_violation(upper, rows, columns):
    def build(x):
        result = [x >= 0] + ([x <= upper] if upper is not None else [])
        for axis, (low, high) in ((1, rows), (0, columns)):
            total = cp.sum(x, axis=axis)
            result += [total == low] if low == high else [total <= high] + [total >= low] * int(np.isfinite(low))
        return result

    x = cp.Variable((3, 4))
    with pytest.raises(InfeasibleError):
        FeasibleSet(build(x), x)
    nearest = FeasibleSet(build(x), x, on_failure="nearest")
    assert "transport polytope" in nearest.explain()
    y = nearest.project(torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).numpy()
    assert y.min() >= 0
    assert upper is None or (y <= upper).all()

    def violation(z):
        parts = []
        for axis, (low, high) in ((1, rows), (0, columns)):
            total = cp.sum(z, axis=axis)
            parts += [cp.pos(total - high)] + ([cp.pos(low - total)] if np.isfinite(low) else [])
        return cp.sum_squares(cp.hstack(parts))

    z = cp.Variable((3, 4), bounds=[0, 100 if upper is None else upper])
    least = cp.Problem(cp.Minimize(violation(z))).solve(cp.CLARABEL)
    assert violation(cp.Constant(y)).value == pytest.approx(least, abs=1e-7)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [x >= 0, cp.sum(x, axis=1) == 1, cp.sum(x[:, :2]) <= 2, cp.sum(x[:, 2]) <= 2],
        lambda x: [x >= 0, cp.sum(x, axis=1) == 1, 2 * x[0] + x[1] + x[2] == 4 / 3],
        lambda x: [x >= 0, cp.sum(x, axis=1) == 1, cp.sum(x, axis=0) == 1, cp.trace(x) == 1],
        lambda x: [x >= 0, x[0, 0] + x[0, 1] == 1, x[0, 1] + x[0, 2] == 1, x[0, 2] + x[0, 0] == 1],
        lambda x: [x[0, 0] + x[0, 1] == 1, x[0, 1] + x[0, 2] == 1, cp.norm(x) <= 3],
    ],
)
def test_what_is_not_a_transport_polytope(build):
    x = cp.Variable((3, 3))
    assert "transport" not in FeasibleSet(build(x), x).explain()


def test_entries_fixed_at_zero():
    x = cp.Variable((3, 3))
    constraints = [x >= 0, cp.diag(x) == 0, cp.sum(x, axis=1) == 1, cp.sum(x, axis=0) == 1]
    feasible_set = FeasibleSet(constraints, x)
    assert "transport polytope, 6 entries" in feasible_set.explain()
    v = torch.randn(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(feasible_set.project(v), FeasibleSet(constraints, x, method="general").project(v))
