"""Cones, paraboloids and balls that meet polyhedra, on random, badly scaled and degenerate data: certificates."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError
from optlayers.sets import REGISTRY

TRIALS = range(40)


def check_displacement(moved, gradient, bend, size):
    """Check that a displacement is along the gradient, up to what an error of 1e-9 in the point does to that."""
    length = np.linalg.norm(gradient)
    unit = gradient / length
    slack = 1e-9 * size * (1 + bend / length * np.linalg.norm(moved))
    assert moved @ unit > -slack
    assert np.linalg.norm(moved - (moved @ unit) * unit) <= slack


def check_in_cone(head, tail, level, shift, points, nearest):
    """Check the optimality conditions for ``||tail @ y + shift|| <= head @ y + level``."""
    for v, y in zip(points, nearest, strict=True):
        size = max(1.0, np.abs(v).max(), np.abs(y).max())
        image, stretch = tail @ y + shift, np.linalg.norm(tail, 2)
        norm, slack = np.linalg.norm(image), 1e-9 * size * (stretch + np.linalg.norm(head))
        value, moved = norm - head @ y - level, v - y
        assert value <= slack
        if np.array_equal(v, y):
            continue
        assert value >= -slack
        assert ((nearest - y) @ moved <= 1e-9 * size * (size + np.linalg.norm(nearest - y, axis=1))).all()
        if norm > 1e-6 * size * stretch:  # away from the apex
            check_displacement(moved, tail.T @ (image / norm) - head, stretch**2 / norm, size)


def random_cone(rng, n):
    """Return a cone or a sheet of a hyperboloid: an axis, weights over four decades, a turn, a shift."""
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0] if rng.random() < 0.5 else np.eye(n)[rng.permutation(n)]
    weights = 10 ** rng.uniform(-2, 2, size=n - 1) if rng.random() < 0.7 else np.full(n - 1, 10 ** rng.uniform(-2, 2))
    head, tail = 10 ** rng.uniform(-3, 3) * turn[0], weights[:, None] * turn[1:]
    apex = rng.normal(size=n) * 10 ** rng.uniform(-2, 2)
    shift = -tail @ apex
    if rng.random() < 0.4:
        tail, shift = np.vstack([tail, np.zeros((1, n))]), np.append(shift, 0.7)
    return head, tail, -head @ apex, shift, apex


@pytest.mark.parametrize("trial", TRIALS)
def test_random_cones(trial):
    rng = np.random.default_rng(trial)
    n = int(rng.integers(2, 7))
    head, tail, level, shift, apex = random_cone(rng, n)
    x = cp.Variable(n)
    feasible_set = FeasibleSet([cp.SOC(head @ x + level, tail @ x + shift)])
    if len(tail) == 1:
        return  # two half-spaces
    assert feasible_set.method == "closed_form", feasible_set.explain()
    directions = rng.normal(size=(200, n)) * 10 ** rng.uniform(-3, 3, size=(200, 1))
    points = np.concatenate([apex + directions, [apex, apex + head, apex - head, apex + 1e9 * directions[0], 0 * apex]])
    nearest = feasible_set.project(torch.from_numpy(points)).numpy()
    check_in_cone(head, tail, level, shift, points, nearest)


@pytest.mark.parametrize("trial", range(12))
def test_sparse_cones_of_few_digits_agree_with_the_general_solver(trial):
    rng = np.random.default_rng(trial)
    for _ in range(10):
        n, m = (int(k) for k in rng.integers(1, 6, size=2))
        tail = np.round(rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.6), 1)
        shift, head = np.round(rng.normal(size=m) * (rng.random(m) < 0.4), 1), np.zeros(n)
        head[rng.random(n) < 0.5] = 0.5
        level = round(rng.normal() * (rng.random() < 0.6), 1)
        x = cp.Variable(n)
        constraints = [cp.SOC(head @ x + level, tail @ x + shift)]
        try:
            own = FeasibleSet(constraints, x)
        except InfeasibleError:
            continue
        general = FeasibleSet(constraints, x, method="general", on_failure="nan")
        v = torch.from_numpy(4 * rng.normal(size=(10, n)))
        for piece in own.compiled.pieces:
            for block in piece.matched:
                assert sum(kind.match(block) is not None for kind in REGISTRY) == 1
        y, other = own.project(v), general.solve(v)
        torch.testing.assert_close(y[other.solved], other.value[other.solved], rtol=0, atol=1e-7)


@pytest.mark.parametrize("trial", TRIALS)
def test_random_paraboloids(trial):
    rng = np.random.default_rng(trial)
    n = int(rng.integers(2, 7))
    k = int(rng.integers(1, n))
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0] if rng.random() < 0.5 else np.eye(n)[rng.permutation(n)]
    matrix = 10 ** rng.uniform(-2, 2, size=(k, 1)) * turn[:k]
    normal = 10 ** rng.uniform(-2, 2) * turn[-1] + (rng.random() < 0.5) * rng.normal(size=n)
    shift, level = rng.normal(size=k), rng.normal()
    x = cp.Variable(n)
    feasible_set = FeasibleSet([cp.sum_squares(matrix @ x + shift) <= normal @ x + level])
    assert feasible_set.method == "closed_form", feasible_set.explain()
    points = rng.normal(size=(200, n)) * 10 ** rng.uniform(-3, 6, size=(200, 1))
    nearest = feasible_set.project(torch.from_numpy(points)).numpy()
    for v, y in zip(points, nearest, strict=True):
        image, size = matrix @ y + shift, max(1.0, np.abs(v).max(), np.abs(y).max())
        value, gradient = image @ image - normal @ y - level, 2 * matrix.T @ image - normal
        slack = 1e-9 * size * np.linalg.norm(gradient)
        assert value <= slack
        if not np.array_equal(v, y):
            assert value >= -slack
            check_displacement(v - y, gradient, 2 * np.linalg.norm(matrix, 2) ** 2, size)


@pytest.mark.parametrize("trial", TRIALS)
def test_random_boxes_meet_balls(trial):
    """The answer is ``clamp(c + s (v - c))`` with the largest `s` up to 1 that the radius allows."""
    rng = np.random.default_rng(trial)
    n = int(rng.integers(2, 9))
    c = rng.normal(size=n) * 10 ** rng.uniform(-2, 2)
    lower = np.where(rng.random(n) < 0.3, -np.inf, c + rng.normal(size=n) - 0.3)
    upper = np.where(rng.random(n) < 0.3, np.inf, np.maximum(lower, c - 1) + rng.exponential(size=n) * 2)
    if rng.random() < 0.4:  # ties
        lower, upper, c = np.round(lower), np.round(upper) + 1, np.round(c)
    radius = np.linalg.norm(np.clip(c, lower, upper) - c) + rng.exponential() * 10 ** rng.uniform(-6, 1)
    x = cp.Variable(n)
    feasible_set = FeasibleSet([x >= lower, x <= upper, cp.norm(x - c, 2) <= radius])
    assert feasible_set.method == "closed_form", feasible_set.explain()
    v = c + rng.normal(size=(50, n)) * 10 ** rng.uniform(-3, 9, size=(50, 1))
    if rng.random() < 0.4:
        v = np.round(v)
    y = feasible_set.project(torch.from_numpy(v)).numpy()
    assert (y >= lower).all()
    assert (y <= upper).all()
    for point, own in zip(v, y, strict=True):
        low, high = 0.0, 1.0
        if np.linalg.norm(np.clip(point, lower, upper) - c) > radius:
            for _ in range(2000):
                middle = (low + high) / 2
                if middle in (low, high):
                    break
                far = np.linalg.norm(np.clip(c + middle * (point - c), lower, upper) - c) > radius
                low, high = (low, middle) if far else (middle, high)
        else:
            low = 1.0
        expected = np.clip(c + low * (point - c), lower, upper)
        # where all entries stand at bounds, or nearly, the distance says little about the point
        assert np.linalg.norm(own - c) <= radius + 1e-9 * max(1, np.abs(point).max())
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-7 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize(
    "build",
    [
        lambda x: [cp.norm(x[1:]) <= x[0]],
        lambda x: [cp.quad_over_lin(x[2:], x[0]) <= x[1]],
        lambda x: [cp.norm(cp.multiply([0.1, 1.0, 10.0], x[1:])) <= x[0]],
        lambda x: [cp.norm(cp.hstack([x[1:], 1])) <= x[0]],
        lambda x: [cp.sum_squares(x[1:]) <= x[0]],
        lambda x: [cp.norm(x) <= 1, x >= 0],
        lambda x: [cp.norm(x) <= 1, cp.sum(x) <= 0.5],
        lambda x: [cp.norm(x) <= 1, cp.sum(x) == 0.5, x[0] + 2 * x[1] == 0.1],
    ],
)
def test_scales_and_precisions(build, scale, dtype):
    x = cp.Variable(4)
    feasible_set = FeasibleSet(build(x), x)
    assert feasible_set.method == "closed_form"
    v = scale * torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = v.to(dtype)
    y = feasible_set.project(v)
    size = max(1.0, scale)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    reference = FeasibleSet(build(x), x).project(v.double())
    assert y.isfinite().all()
    assert float((y - reference).abs().max()) <= tolerance * size
    assert float(feasible_set.violation(reference).max()) <= 1e-9 * size
    v.requires_grad_()
    (gradient,) = torch.autograd.grad(feasible_set.project(v).sum(), v)
    assert gradient.isfinite().all()
    assert float(gradient.norm(dim=-1).max()) <= 2 * (1 + 1e-4)  # of the norm of four ones


def test_cones_that_something_cuts_are_not_cones():
    x = cp.Variable(4)
    for constraints in (
        [cp.norm(x[1:]) <= x[0], x[0] >= 1],
        [cp.norm(x[1:]) <= x[0], x[1] >= 0],
        [cp.norm(x[1:]) <= x[0], x[0] <= 2],
        [cp.quad_over_lin(x[2:], x[0]) <= x[1], x[0] >= 0.1],
        [cp.sum_squares(x[1:]) <= x[0], x[0] >= 0.1],
        [cp.norm(x[1:]) <= x[0], cp.norm(x[2:]) <= x[1]],
        [cp.ExpCone(x[0], x[1], 2 * x[2])],
        [cp.ExpCone(x[0], x[1], x[2]), x[0] <= 0],
        [cp.norm(cp.multiply([1.0, 2, 3, 4], x)) <= 1, x >= 0],
    ):
        kinds = {label.split(",")[0] for piece in FeasibleSet(constraints, x).compiled.pieces for label in piece.labels}
        assert kinds <= {"free space", "box"}, constraints


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [x >= 2, cp.norm(x) <= 1],
        lambda x: [x >= np.array([2, -1, 0.5]), x <= np.array([3, 1, 0.7]), cp.norm(x - np.array([0, 0, 3])) <= 0.5],
        lambda x: [cp.sum(x) >= 5, cp.norm(x) <= 1],
        lambda x: [10 * cp.sum(x) >= 50, 10 * cp.sum(x) <= 60, cp.norm(x - 1) <= 0.5],
    ],
)
def test_empty_sets_are_named_and_their_nearest_points_found(build):
    x = cp.Variable(3)
    with pytest.raises(InfeasibleError) as info:
        FeasibleSet(build(x), x)
    assert len(info.value.constraints) >= 2
    own, general = (FeasibleSet(build(x), x, method=m, on_failure="nearest") for m in ("auto", "general"))
    assert own.method == "closed_form"
    v = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(own.project(v), general.project(v), rtol=0, atol=2e-3)


def test_nearest_points_of_an_affine_set_out_of_reach():
    x, matrix = cp.Variable(3), np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
    right, center = np.array([5.0, 1.0]), np.array([0.2, 0.0, -0.1])
    feasible_set = FeasibleSet([matrix @ x == right, cp.norm(x - center) <= 1], on_failure="nearest")
    assert feasible_set.method == "closed_form"
    y = feasible_set.project(torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)).numpy()

    def violation(y):
        outside = np.linalg.lstsq(matrix, matrix @ y - right)[0]
        return outside @ outside + max(0.0, np.linalg.norm(y - center) - 1) ** 2 / 2

    steps = 1e-3 * np.random.default_rng(0).normal(size=(200, 3))
    assert all(violation(y + step) >= violation(y) for step in steps)
