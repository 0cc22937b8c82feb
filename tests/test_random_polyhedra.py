"""Random polyhedra whose projections are known by construction: a point plus normals of rows that are tight there."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optlayers import FeasibleSet

SEEDS = st.integers(0, 2**32 - 1)


def random_rows(rng, count, n):
    """Return rows with integer or real entries, some of them twice, scaled, or sums of others."""
    rows = rng.integers(-3, 4, size=(count, n)).astype(float) if rng.random() < 0.5 else rng.normal(size=(count, n))
    for k in range(1, count):
        kind = rng.random()
        if kind < 0.15:
            rows[k] = rows[rng.integers(k)]
        elif kind < 0.25:
            rows[k] = rng.choice([0.5, 3.0]) * rows[rng.integers(k)]
        elif kind < 0.4:
            rows[k] = rng.uniform(0, 2, size=k) @ rows[:k]
    return rows


def random_projections(rng, samples=3):
    """Return constraints of an `x`, points outside of them and their projections.

    A sum of normals of tight rows with multipliers >= 0 leads from the projection to the point: the optimality
    conditions, which suffice. Tight rows are many, so that vertices are degenerate; some multipliers are zero.
    """
    n = int(rng.integers(1, 7))
    equalities, tight, slack = int(rng.integers(0, max(1, n - 1))), int(rng.integers(1, 2 * n + 3)), rng.integers(0, 4)
    rows = random_rows(rng, equalities + tight + slack, n)
    on = rng.normal(size=n) * 10.0 ** rng.uniform(-1, 1)
    sides = rows @ on
    sides[equalities + tight :] += rng.exponential(size=slack)
    multipliers = rng.exponential(size=(samples, equalities + tight)) * (
        rng.random((samples, equalities + tight)) < 0.7
    )
    multipliers[:, :equalities] *= rng.choice([-1, 1], size=(samples, equalities))
    points = on + multipliers @ rows[: equalities + tight]
    x = cp.Variable(n, name="x")
    constraints = [rows[k] @ x == sides[k] for k in range(equalities)]
    scales = 10.0 ** rng.uniform(-1, 1, size=len(rows))
    if rng.random() < 0.5:
        constraints += [rows[equalities:] @ x <= sides[equalities:]]
    else:
        constraints += [-scales[k] * rows[k] @ x >= -scales[k] * sides[k] for k in range(equalities, len(rows))]
    lower = on - rng.exponential(size=n) * (rng.random(n) < 0.8)
    if rng.random() < 0.5:
        constraints.append(x >= lower)
    return x, constraints, torch.tensor(points), torch.tensor(on)


def check(seed):
    x, constraints, points, on = random_projections(np.random.default_rng(seed))
    feasible_set = FeasibleSet(constraints, x)
    scale = 1 + float(points.abs().max()) + float(on.abs().max())
    y = feasible_set.project(points)
    torch.testing.assert_close(y, on.expand_as(y), rtol=0, atol=1e-9 * scale)
    single = feasible_set.project(points.float())
    torch.testing.assert_close(single.double(), on.expand_as(y), rtol=0, atol=1e-5 * scale)
    jacobian = torch.autograd.functional.jacobian(lambda v: feasible_set.project(v).sum(0), points)
    for own in jacobian.unbind(1):  # at kinks it is an element of Clarke's, which has these properties too
        torch.testing.assert_close(own, own.mT, rtol=0, atol=1e-7)
        values = torch.linalg.eigvalsh(own)
        assert float(values.min()) >= -1e-7
        assert float(values.max()) <= 1 + 1e-7


@settings(max_examples=60)
@given(SEEDS)
def test_points_project_onto_what_they_were_made_from(seed):
    check(seed)


@pytest.mark.slow
@settings(max_examples=2000)
@given(SEEDS)
def test_many_points_project_onto_what_they_were_made_from(seed):
    check(seed)


@settings(max_examples=40)
@given(SEEDS)
def test_a_sample_alone_a_batch_and_parametric_bounds_agree(seed):
    """Three routes: constant bounds, where the points alone carry derivatives; one sample; and bounds as parameters."""
    rng = np.random.default_rng(seed)
    x, constraints, v, _ = random_projections(rng)
    bound = cp.Parameter(name="bound", value=1e3)
    constant = FeasibleSet([*constraints, x <= 1e3], x, method="general")
    parametric = FeasibleSet([*constraints, x <= bound], x, [bound], method="general").bind(1e3)
    weight = torch.tensor(rng.normal(size=v.shape))

    def run(feasible_set, points):
        own = points.clone().requires_grad_()
        y = feasible_set.project(own)
        (gradient,) = torch.autograd.grad((y * weight[: len(points)]).sum(), own)
        return y.detach(), gradient

    batch, batch_gradient = run(constant, v)
    scale = float(v.abs().max().clamp_min(1.0))
    for one, other in zip(run(parametric, v), (batch, batch_gradient), strict=True):
        assert (one - other).abs().max() <= 1e-9 * scale
    alone, gradient = run(constant, v[:1])
    assert (alone - batch[:1]).abs().max() <= 1e-11 * scale
    assert (gradient - batch_gradient[:1]).abs().max() <= 1e-7
