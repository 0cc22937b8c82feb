"""Random sets, written in random ways, against CVXPY's own answer."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from optlayers import FeasibleSet

SEEDS = st.integers(0, 2**32 - 1)


def random_block(x, rng):
    """Return random constraints on a slice, which contain the point `inside`, and that point."""
    n = x.size
    inside = rng.normal(size=n)
    scale = 10.0 ** rng.uniform(-2, 2)
    a = rng.normal(size=n) * rng.choice([1.0, 0.0], size=n, p=[0.8, 0.2])
    a = np.ones(n) if rng.random() < 0.4 or not a.any() else a
    lower, upper = inside - rng.exponential(size=n), inside + rng.exponential(size=n)
    bounds = (
        [x >= lower, x <= upper] if rng.random() < 0.6 else [cp.abs(x - (lower + upper) / 2) <= (upper - lower) / 2]
    )
    center = inside + rng.normal(size=n)
    radius = float(np.linalg.norm(inside - center)) * rng.uniform(1.0, 2.0)
    matrix = rng.normal(size=(max(1, n - 1), n))
    shape = rng.normal(size=(n + 1, n))
    size = float(np.linalg.norm(shape @ (inside - center))) * rng.uniform(1.0, 2.0)
    kinds = [
        lambda: bounds,
        lambda: [*bounds, scale * a @ x == scale * a @ inside],
        lambda: [*bounds, scale * a @ x <= scale * (a @ inside + rng.exponential())],
        lambda: [a @ x == a @ inside],
        lambda: [scale * a @ x >= scale * a @ inside - rng.exponential()],
        lambda: [cp.abs(a @ (x - inside)) <= rng.exponential()],
        lambda: [scale * matrix @ x == scale * matrix @ inside],
        lambda: [scale * cp.norm(x - center) <= scale * radius],
        lambda: [cp.sum_squares(x - center) <= radius**2],
        lambda: [cp.norm(shape @ (x - center)) <= size],
        lambda: [cp.quad_form(x - center, shape.T @ shape) <= size**2],
        lambda: [],
    ]
    return kinds[rng.integers(len(kinds))](), inside


def largest(constraints):
    """Return the size of the constraints' data, which violations are relative to."""
    sizes = [float(np.abs(c.value).max(initial=0)) for constraint in constraints for c in constraint.constants()]
    return max([1.0, *sizes])


def nearest_by_clarabel(constraints, x, v):
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - v)), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            problem.solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        except cp.SolverError:  # out of its reach; its default tolerances may not be
            try:
                problem.solve(cp.CLARABEL)
            except cp.SolverError:
                reject()
    return x.value


@settings(max_examples=60)
@given(SEEDS)
def test_products_of_random_blocks(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, size=rng.integers(1, 4))
    x = cp.Variable(int(sizes.sum()))
    order, constraints, inside = rng.permutation(x.size), [], np.zeros(x.size)
    for own in np.split(order, np.cumsum(sizes)[:-1]):
        added, inside[own] = random_block(x[own], rng)
        constraints += added
    constraints = [constraints[k] for k in rng.permutation(len(constraints))]
    feasible_set = FeasibleSet(constraints, x)
    assert feasible_set.method == "closed_form", feasible_set.explain()
    v = rng.normal(size=x.size) * 10.0 ** rng.uniform(-1, 2)
    y = feasible_set.project(torch.tensor(v)).numpy()
    scale = 1 + max(np.abs(v).max(), np.abs(inside).max())
    x.value = y
    assert max((float(np.max(c.violation())) for c in constraints), default=0) <= 1e-9 * scale * largest(constraints)
    assert (inside - y) @ (v - y) <= 1e-8 * scale**2
    # Clarabel stops short on degenerate sets: its point may be a little worse, never better
    other = nearest_by_clarabel(constraints, x, v)
    assert np.linalg.norm(y - v) <= np.linalg.norm(other - v) + 1e-8 * scale
    np.testing.assert_allclose(y, other, atol=1e-3 * scale)


@settings(max_examples=30)
@given(SEEDS)
def test_random_blocks_in_float32(seed):
    rng = np.random.default_rng(seed)
    x = cp.Variable(int(rng.integers(1, 7)))
    feasible_set = FeasibleSet(random_block(x, rng)[0], x)
    v = torch.tensor(rng.normal(size=(4, x.size)) * 3)
    single = feasible_set.project(v.float())
    torch.testing.assert_close(single.double(), feasible_set.project(v), rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(SEEDS)
def test_gradients_of_random_blocks(seed):
    rng = np.random.default_rng(seed)
    x = cp.Variable(int(rng.integers(1, 6)))
    feasible_set = FeasibleSet(random_block(x, rng)[0], x)
    v = torch.tensor(rng.normal(size=(2, x.size)) * 3, requires_grad=True)
    torch.autograd.gradcheck(feasible_set.project, v, check_forward_ad=True)


@pytest.mark.slow
@settings(max_examples=1000)
@given(SEEDS)
def test_many_products_of_random_blocks(seed):
    test_products_of_random_blocks.hypothesis.inner_test(seed)
