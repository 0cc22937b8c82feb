"""L1 and group balls and sums of the largest entries, against answers found in other ways."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.sets.group_ball import GroupBall
from optlayers.sets.l1_ball import L1Ball
from optlayers.sets.search.largest_search import thresholds
from optlayers.sets.sum_largest import SumLargest


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def data(kind, rng, *shape):
    """Return points that are random, tied, badly scaled, skewed, or far from zero."""
    normal = rng.normal(size=shape)
    return {
        "random": normal,
        "tied": np.round(2 * normal),
        "scaled": normal * 10.0 ** rng.integers(-8, 9, size=shape),
        "skewed": np.exp(6 * normal),
        "far": 1e9 + normal,
        "zero": 0 * normal,
    }[kind]


KINDS = ("random", "tied", "scaled", "skewed", "far", "zero")


def largest_sum(y, k):
    """Return the sum of the k largest entries, and of a fraction of the next one."""
    whole = int(k)
    ordered = y.sort(-1, descending=True).values
    result = ordered[..., :whole].sum(-1)
    return result if whole == k else result + (k - whole) * ordered[..., whole]


def check_largest(y, v, k, total, tolerance):
    """Check stationarity and complementarity: ``v - y`` is a multiple of a subgradient of the sum at `y`."""
    scale = max(1.0, float(v.abs().max()), abs(total) / k)
    excess = largest_sum(v, k) - total
    if excess <= tolerance * scale * k:
        torch.testing.assert_close(y, v, rtol=0, atol=0.0 if excess < -tolerance * scale * k else 2 * tolerance * scale)
        return
    move = v - y
    width = move.sum() / k
    assert abs(float(largest_sum(y, k) - total)) <= tolerance * scale * k
    assert float(move.min()) >= -tolerance * scale
    assert float(move.max()) <= float(width) + tolerance * scale
    level = y.sort(descending=True).values[int(np.ceil(k)) - 1]
    above, below = y > level + tolerance * scale, y < level - tolerance * scale
    assert bool((move[above] >= width - 4 * tolerance * scale).all())
    assert bool((move[below] <= 4 * tolerance * scale).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_of_largest_entries_have_certificates(kind, dtype):
    rng = np.random.default_rng(0)
    for trial in range(150):
        n = int(rng.integers(1, 40))
        k = [1.0, float(n), float(rng.integers(1, n + 1)), float(rng.uniform(1, n))][trial % 4]
        v = torch.as_tensor(data(kind, rng, n)).to(dtype)
        k = float(torch.tensor(k, dtype=dtype))
        now = float(largest_sum(v.double(), k))
        total = [now - 1, 0.9 * now, float(rng.normal()), now + 1, now][trial // 4 % 5]
        total = float(torch.tensor(total, dtype=dtype))
        bound = SumLargest(torch.tensor(k, dtype=dtype), None, None, torch.tensor(total, dtype=dtype))
        tolerance = 40 * n * torch.finfo(dtype).eps
        with_formula = bound.project(v.clone().requires_grad_()).detach()
        for y in (bound.project(v), with_formula):
            check_largest(y.double(), v.double(), k, total, tolerance)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_long_rows_of_largest_entries(share, dtype):
    v = torch.randn(3, 50_000, dtype=dtype) * torch.tensor([[1.0], [1e-6], [1e6]], dtype=dtype)
    k = round(share * v.shape[-1])
    total = 0.8 * v.topk(k).values.sum(-1)
    y = SumLargest(torch.tensor(float(k), dtype=dtype), None, None, total).project(v)
    for row, point, limit in zip(y, v, total, strict=True):
        size = float(point.abs().max())
        check_largest(row.double() / size, point.double() / size, k, float(limit) / size, 1e3 * torch.finfo(dtype).eps)


def test_blocks_with_their_own_counts():
    x = cp.Variable((3, 5))
    constraints = [cp.sum_largest(x[0], 1) <= 0.5, cp.sum_largest(x[1], 3) <= 0.5, cp.sum_largest(x[2], 2.5) <= 0.5]
    feasible_set = FeasibleSet(constraints, x)
    assert len(feasible_set.compiled.pieces) == 1
    v = torch.randn(4, 3, 5, dtype=torch.float64)
    for i, k in enumerate((1.0, 3.0, 2.5)):
        alone = SumLargest(number(k), None, None, number(0.5)).project(v[:, i])
        torch.testing.assert_close(feasible_set.project(v)[:, i], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "plain"),
    [
        (lambda x: cp.sum_largest(x, 1) <= 0.3, lambda x: x <= 0.3),
        (lambda x: cp.cvar(x, 0.9) <= 0.3, lambda x: x <= 0.3),
        (lambda x: cp.sum_largest(x, 0.5) <= 0.3, lambda x: x <= 0.6),
        (lambda x: cp.sum_largest(x, 4) <= 0.3, lambda x: cp.sum(x) <= 0.3),
        (lambda x: cp.cvar(x, 0) <= 0.3, lambda x: cp.mean(x) <= 0.3),
        (lambda x: cp.sum_smallest(x, 4) >= 0.3, lambda x: cp.sum(x) >= 0.3),
    ],
)
def test_extreme_counts_are_boxes_and_half_spaces(build, plain):
    x, y = cp.Variable(4), cp.Variable(4)
    v = 2 * torch.randn(20, 4, dtype=torch.float64)
    feasible_set = FeasibleSet([build(x)])
    assert feasible_set.method == "closed_form"
    torch.testing.assert_close(feasible_set.project(v), FeasibleSet([plain(y)]).project(v), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1.0, 1.3, 2.5, 3.0, 4.75, 5.0])
def test_derivatives_for_fractions(k):
    center, total = torch.randn(5, dtype=torch.float64), number(-0.4)
    v = 2 * torch.randn(4, 5, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (v, center, total)]

    def project(v, center, total):
        return SumLargest(number(k), center, number(-1.0), total).project(v)

    torch.autograd.gradcheck(project, leaves, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(project, leaves)
    for point in (torch.zeros(5), torch.ones(5), torch.tensor([1.0, 1, 2, 2, 3])):
        jacobian = torch.func.jacrev(lambda v: project(v, torch.zeros(5).double(), number(-1.0)))(point.double())
        torch.testing.assert_close(jacobian, jacobian.T)
        values = torch.linalg.eigvalsh(jacobian)
        assert bool(((values > -1e-12) & (values < 1 + 1e-12)).all())


def test_thresholds_take_empty_and_mapped_batches():
    for shape in ((0, 4), (2, 0, 4)):
        low, width = thresholds(torch.zeros(shape), torch.tensor(2.0), torch.tensor(1.0))
        assert low.shape == width.shape == shape[:-1]
    v, k, r = torch.randn(3, 2, 6), torch.tensor(2.0), torch.randn(3)
    low, width = torch.func.vmap(thresholds, (0, None, 0))(v, k, r)
    expected = thresholds(v, k, r[:, None])
    torch.testing.assert_close(low, expected[0])
    torch.testing.assert_close(width, expected[1])


def l1_by_bisection(offset, weights, radius):
    """Return the projection onto a weighted L1 ball around zero, from the root of a decreasing function."""
    size = np.abs(offset)
    if (weights * size).sum() <= radius:
        return offset
    low, high = 0.0, 1 + (size[weights > 0] / weights[weights > 0]).max(initial=0)
    for _ in range(2000):
        middle = (low + high) / 2
        outside = (weights * np.maximum(size - middle * weights, 0)).sum() > radius
        low, high = (middle, high) if outside else (low, middle)
        if high - low <= 1e-17 * high:
            break
    return np.sign(offset) * np.maximum(size - high * weights, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_l1_balls_by_bisection(kind):
    rng = np.random.default_rng(1)
    for trial in range(100):
        n = int(rng.integers(1, 20))
        v, center = data(kind, rng, n), [0.0, 1.0][trial % 2] * rng.normal(size=n)
        weights = rng.uniform(size=n) * (rng.uniform(size=n) < 0.8) if trial % 3 else np.ones(n)
        radius = [0.0, 1.0, 0.1 * float((weights * np.abs(v - center)).sum())][trial // 3 % 3]
        sides = torch.as_tensor(weights)
        ball = L1Ball(torch.as_tensor(center), sides, None, number(radius))
        expected = center + l1_by_bisection(v - center, weights, radius)
        for point in (torch.as_tensor(v), torch.as_tensor(v).requires_grad_()):
            error = np.abs(ball.project(point).detach().numpy() - expected).max()
            assert error <= 1e-12 * max(1.0, np.abs(v).max()), (trial, error)


@pytest.mark.parametrize("kind", KINDS)
def test_group_balls_are_l1_balls_of_the_norms(kind):
    rng = np.random.default_rng(2)
    for trial in range(60):
        n = int(rng.integers(2, 20))
        groups = rng.permutation(np.concatenate([np.arange(2), rng.integers(0, 2, size=n - 2)]))
        v, weights = data(kind, rng, n), np.array([1.0, rng.uniform(0.1, 3)])
        norms = np.array([np.linalg.norm(v[groups == g]) for g in range(2)])
        radius = [0.0, 1.0, 0.3 * float(weights @ norms)][trial % 3]
        shrunk = l1_by_bisection(norms, weights, radius)
        expected = v * (shrunk / np.where(norms > 0, norms, 1))[groups]
        ball = GroupBall(None, torch.as_tensor(groups).double(), torch.as_tensor(weights), number(radius))
        error = np.abs(ball.project(torch.as_tensor(v)).numpy() - expected).max()
        assert error <= 1e-12 * max(1.0, np.abs(v).max()), (trial, error)


def _with(shape, constraints):
    return constraints(cp.Variable(shape))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [cp.norm1(x) <= 1, x >= -0.4],
        lambda x: [cp.norm1(x) <= 1, x[0] + x[1] == 0.3],
        lambda x: [cp.norm1(x) <= 1, cp.norm1(x - 1) <= 3.5],
        lambda x: [cp.norm1(np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ x) <= 1],
        lambda x: [cp.norm1(cp.huber(x)) <= 1],
        lambda x: [cp.sum(cp.maximum(cp.abs(x) - 0.2, 0.1)) <= 1],
        lambda x: [cp.norm1(x) + 2 * x[0] <= 1],
        lambda x: [cp.norm1(x[:3]) + x[3] <= 1],
        lambda x: [cp.sum(cp.abs(x)) + cp.abs(x[0] - 0.5) <= 1],
        lambda x: _with(4, lambda t: [cp.abs(x) <= t, t <= 0.4, cp.sum(t) <= 1]),
        lambda x: _with(4, lambda t: [cp.abs(x) <= t, t >= 0.1, cp.sum(t) <= 1]),
        lambda x: _with(4, lambda t: [cp.abs(x) <= t, t[0] == t[1], cp.sum(t) <= 1]),
        lambda x: [cp.norm(x[:2]) + cp.norm(x[1:]) <= 1],
        lambda x: [cp.norm(cp.multiply([1, 2], x[:2])) + cp.norm(x[2:]) <= 1],
        lambda x: [cp.norm(x[:2]) + cp.norm(x[2:]) <= 1, x[0] <= 0.1],
        lambda x: [cp.norm(cp.hstack([x[:2], 0.5])) + cp.norm(x[2:]) <= 1],
        lambda x: [cp.norm(x[:2]) + cp.sum(cp.pos(x[2:])) <= 1],
        lambda x: _with(2, lambda t: [cp.norm(x[:2]) <= t[0], cp.norm(x[2:]) <= t[1], t >= 0.2, cp.sum(t) <= 1]),
        lambda x: [cp.sum_largest(cp.multiply([1, 2, 1, 1], x), 2) <= 1],
        lambda x: [cp.sum_largest(x, 2) <= 1, x >= -1],
        lambda x: [cp.sum_largest(cp.hstack([x, 0.3]), 2) <= 1],
        lambda x: [cp.sum_largest(cp.hstack([x[:2], x[0] + x[1], x[2:]]), 2) <= 1],
        lambda x: [cp.sum_largest(x, 2) + x[0] <= 1],
        lambda x: [cp.sum_largest(x, 1) + cp.sum_largest(x, 2) <= 1],
        lambda x: _with((), lambda t: [2 * t + cp.sum(cp.pos(x - t)) <= 1, t >= -0.3]),
        lambda x: _with((), lambda t: [2 * t + np.array([1, 2, 1, 1]) @ cp.pos(x - t) <= 1]),
    ],
)
def test_what_only_looks_like_one_is_left_to_the_general_solver(build):
    x = cp.Variable(4)
    feasible_set = FeasibleSet(build(x), x)
    assert feasible_set.method == "general", feasible_set.explain()


@pytest.mark.parametrize("kind", ["nonneg", "nonpos", "capped", "one entry", "one nonneg entry"])
def test_parametric_weights_of_entries_of_one_sign_keep_the_closed_form(kind):
    n = 1 if kind.startswith("one") else 4
    x = cp.Variable(n, nonneg=kind in ("nonneg", "capped", "one nonneg entry"), nonpos=kind == "nonpos")
    p, r = cp.Parameter(n, nonneg=True), cp.Parameter(nonneg=True)
    constraints = [p @ cp.abs(x) <= r] + [x <= 0.4] * (kind == "capped")
    feasible_set = FeasibleSet(constraints, x, [p, r])
    assert feasible_set.method == "closed_form"
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(5, n, dtype=torch.float64, generator=generator)
    weights = torch.tensor([0.5, 0.0, 2.0, 1.0], dtype=torch.float64)[:n].requires_grad_()
    radius = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y = feasible_set.bind(weights, radius).project(v)
    p.value, r.value = weights.detach().numpy(), 0.3
    for point, nearest in zip(v.numpy(), y.detach().numpy(), strict=True):
        cp.Problem(cp.Minimize(cp.sum_squares(x - point)), constraints).solve(cp.CLARABEL)
        assert np.abs(x.value - nearest).max() <= 1e-4
    slopes = torch.autograd.grad(y.sum(), [weights, radius])
    general = FeasibleSet(constraints, x, [p, r], method="general").bind(weights, radius).project(v)
    assert float((general - y).detach().abs().max()) <= 1e-9
    for slope, other, data in zip(
        slopes, torch.autograd.grad(general.sum(), [weights, radius]), (weights, radius), strict=True
    ):
        moves = data > 0  # where a weight is zero, the solver's auxiliary entry is not determined
        torch.testing.assert_close(slope[moves], other[moves], rtol=1e-7, atol=1e-9)
    for k in (weights == 0).nonzero().flatten().tolist():
        moved = weights.detach().clone()
        moved[k] = 1e-6
        change = (feasible_set.bind(moved, radius).project(v) - y).detach().sum() / 1e-6
        torch.testing.assert_close(slopes[0][k], change, rtol=1e-4, atol=1e-4)
