"""Sequences: the searches behind monotone, bounded-step and bounded-variation sets, by certificates."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError
from optlayers.kernels.cpu import isotonic
from optlayers.sets import difference_chain, total_variation
from optlayers.sets.difference_chain import DifferenceChain
from optlayers.sets.isotonic import Isotonic
from optlayers.sets.order_simplex import OrderSimplex
from optlayers.sets.search import chain_search, pool_adjacent, total_variation_search
from optlayers.sets.search.chain_compromise import least_violation
from optlayers.sets.total_variation import TotalVariationBall
from optlayers.testing import LAWS, cases

INF = float("inf")


@pytest.fixture(params=["compiled", "in torch"])
def pooled(request):
    return isotonic.project if request.param == "compiled" else pool_adjacent.pool_rows


def sequences(kind, rows, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    v = 2 * torch.randn(rows, n, dtype=torch.float64, generator=generator)
    last = torch.arange(n) == n - 1
    return {
        "random": v,
        "tied": v.round(),
        "sorted": v.sort(-1).values,
        "reversed": v.sort(-1, descending=True).values,
        "one low": torch.where(last, -3.0 * n, v.sort(-1).values),
        "steep": torch.where(last, -1e9, (4 * v).exp().sort(-1).values),
        "offset": 1e9 + v,
        "two scales": v * torch.where(v > 0, 1e9, 1e-9),
        "walk": v.cumsum(-1),
        "constant": torch.full_like(v, 0.1),
    }[kind]


KINDS = ["random", "tied", "sorted", "reversed", "one low", "steep", "offset", "two scales", "walk", "constant"]


def max_min_means(v, weight):
    """The formula ``y_i = max_{j <= i} min_{k >= i} mean(v[j..k])``."""
    n = len(v)
    sums, masses = (np.concatenate([[0], np.cumsum(a, dtype=np.longdouble)]) for a in (v * weight, weight))
    j, k = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    means = np.where(j <= k, (sums[k + 1] - sums[j]) / np.where(j <= k, masses[k + 1] - masses[j], 1), np.inf)
    least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    return np.array([least[: i + 1, i].max() for i in range(n)], dtype=float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("work", [16, 0])  # with 0, the plain form splits from the top down at once
def test_pooling_is_the_max_min_formula(pooled, kind, work, monkeypatch):
    monkeypatch.setattr(pool_adjacent, "_MOST_WORK", work)
    for n in (1, 2, 3, 17):
        v = sequences(kind, 8, n)
        for weight in (None, 0.1 + torch.rand(8, n, dtype=torch.float64)):
            y, starts = pooled(v, weight)
            masses = torch.ones_like(v) if weight is None else weight
            expected = np.stack([max_min_means(a, b) for a, b in zip(v.numpy(), masses.numpy(), strict=True)])
            size = v.abs().amax(-1, keepdim=True).clamp_min(1)
            torch.testing.assert_close(y / size, torch.from_numpy(expected) / size, rtol=0, atol=1e-14)
            assert bool((y.diff() >= 0).all())
            position = torch.arange(n).expand_as(starts)
            assert bool((starts <= position).all())
            assert bool((starts.gather(-1, starts) == starts).all())


@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences(pooled, kind):
    v = sequences(kind, 3, 3000)
    y, starts = pooled(v, None)
    assert bool((y.diff() >= 0).all())
    residual = (v - y).cumsum(-1)
    size = float(v.abs().max()) * 3000
    assert float(residual.min()) >= -1e-13 * size  # the multipliers of the steps
    ends = torch.cat([starts[:, 1:] != starts[:, :-1], torch.ones(3, 1, dtype=torch.bool)], -1)
    assert float(residual[ends].abs().max()) <= 1e-13 * size


def test_float32_sums_do_not_drift(pooled):
    v = (100 + torch.randn(2, 200_000)).float()
    v[:, 0] = 1e4
    exact, _ = pooled(v.double(), None)
    y, _ = pooled(v, None)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), exact, rtol=1e-7, atol=0)


def certify_chain(v, lower, upper, low_step, high_step, y):
    """Return the violation of the optimality conditions, with all multipliers that agree with the signs."""
    tie = 1e-12 * max(1.0, float(v.abs().max()))
    violation = max(float(t.max()) for t in (lower - y, y - upper, low_step - y.diff(), y.diff() - high_step) if len(t))
    least, most = 0.0, 0.0  # between which the multiplier of the last step lies
    for i in range(len(v)):
        at_lower, at_upper = y[i] <= lower[i] + tie, y[i] >= upper[i] - tie
        least, most = least + float(v[i] - y[i]), most + float(v[i] - y[i])
        least, most = -INF if at_upper else least, INF if at_lower else most
        tight_low = i < len(v) - 1 and y[i + 1] - y[i] <= low_step[i] + tie
        tight_high = i < len(v) - 1 and y[i + 1] - y[i] >= high_step[i] - tie
        low, high = (-INF if tight_high else 0.0), (INF if tight_low else 0.0)
        violation = max(violation, low - most, least - high)
        least, most = max(least, low), min(most, high)
        if least > most:
            least = most = max(min(least, high), low)
    return violation


def chains(kind, rows, n, seed):
    """Data of chains that are not empty: bounds around a point."""
    rng = np.random.default_rng(seed)
    point = 2 * rng.normal(size=(rows, n))
    inside = 2 * rng.normal(size=(rows, n))
    slack = [rng.exponential(size=(rows, n)) * (rng.random((rows, n)) < 0.7) for _ in range(4)]
    if kind == "integers":
        point, inside, slack = point.round(), inside.round(), [s.round() for s in slack]
    if kind == "huge":
        point *= 1e9
    step = np.diff(inside)
    lower, upper = inside - slack[0], inside + slack[1]
    low_step, high_step = step - slack[2][:, 1:], step + slack[3][:, 1:]
    share = {"sparse": 0.6, "steps": 0.0}.get(kind, 0.2)
    for bound, value in ((lower, -INF), (upper, INF), (low_step, -INF), (high_step, INF)):
        bound[rng.random(bound.shape) < share] = value
    if kind == "steps":
        lower[:], upper[:] = -INF, INF
    if kind == "equal":
        low_step[:, ::2] = high_step[:, ::2] = step[:, ::2]
    return [torch.from_numpy(a) for a in (point, lower, upper, low_step, high_step)]


@pytest.mark.parametrize("kind", ["dense", "sparse", "steps", "integers", "equal", "huge"])
def test_chains_of_bounded_steps_are_optimal(kind):
    for n in (2, 3, 5, 12, 40):
        data = chains(kind, 30, n, seed=n)
        tight, pinned = chain_search.search(*data)
        y = chain_search.formula(*data, tight, pinned)
        for row in zip(*data, y, strict=True):
            size = max(1.0, float(row[0].abs().max()))
            assert certify_chain(*row) <= 1e-12 * size * n


@pytest.mark.parametrize("kind", ["random", "tied", "sorted", "offset", "two scales", "walk", "constant"])
def test_balls_of_the_total_variation_are_optimal(kind):
    generator = torch.Generator().manual_seed(1)
    for n in (2, 3, 8, 60):
        v = sequences(kind, 40, n, seed=n)
        variation = v.diff().abs().sum(-1)
        radius = 1.1 * variation * torch.rand(40, dtype=torch.float64, generator=generator)
        radius[:4] = 0
        radius = radius.round() if kind == "tied" else radius
        y = total_variation_search.formula(v, radius, *total_variation_search.search(v, radius))
        size = v.abs().amax(-1).clamp_min(1) * n
        own = y.diff().abs().sum(-1)
        assert bool((own <= radius + 1e-14 * size).all())
        inside = variation < radius
        assert torch.equal(y[inside], v[inside])
        assert bool(((own - radius).abs() <= 1e-14 * size)[~inside].all())
        residual = (v - y).cumsum(-1)
        assert bool((residual[:, -1].abs() <= 1e-14 * size).all())
        multiplier = residual[:, :-1].abs().amax(-1, keepdim=True)
        step = y.diff() * (y.diff().abs() > 1e-12 * size.unsqueeze(-1))
        gap = torch.where(step != 0, residual[:, :-1] + multiplier * step.sign(), 0.0)
        assert bool((gap.abs().amax(-1) <= 1e-13 * size).all())


@pytest.mark.parametrize(
    "law",
    [
        "is_idempotent",
        "passes_gradcheck",
        "takes_batches",
        "maps_under_vmap",
        pytest.param("compiles", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", [Isotonic, OrderSimplex])
def test_laws_hold_for_pooling_in_torch(kind, law, monkeypatch):
    monkeypatch.setattr(pool_adjacent, "is_built", lambda: False)
    for case in cases(kind):
        LAWS[law](case)


@pytest.mark.parametrize("build", [lambda x: [cp.tv(x) <= 1], lambda x: [cp.abs(cp.diff(x)) <= 0.3, x >= 0]])
def test_without_the_core_the_general_solver_takes_chains(build, monkeypatch):
    x, v = cp.Variable(5), 2 * torch.randn(3, 5, dtype=torch.float64)
    expected = FeasibleSet(build(x), x)
    assert expected.method == "closed_form"
    for module in (difference_chain, total_variation):
        monkeypatch.setattr(module, "is_built", lambda: False)
    other = FeasibleSet(build(x), x)
    assert other.method == "general"
    torch.testing.assert_close(other.project(v), expected.project(v), rtol=0, atol=1e-9)


def test_the_least_violation_is_that_of_clarabel():
    rng = np.random.default_rng(0)
    for n in (2, 4, 7):
        lower, upper = rng.normal(size=(2, n))
        low_step, high_step = rng.normal(size=(2, n - 1))
        y = cp.Variable(n)
        terms = [cp.pos(lower - y), cp.pos(y - upper), cp.pos(low_step - cp.diff(y)), cp.pos(cp.diff(y) - high_step)]
        value = cp.Problem(cp.Minimize(sum(cp.sum_squares(t) for t in terms))).solve(cp.CLARABEL)
        bounds = [torch.from_numpy(b) for b in (lower, upper, low_step, high_step)]
        found = least_violation(*bounds).numpy()
        parts = lower - found, found - upper, low_step - np.diff(found), np.diff(found) - high_step
        assert abs(sum((np.maximum(part, 0) ** 2).sum() for part in parts) - value) <= 1e-7


def test_the_nearest_point_of_an_empty_chain():
    x, p = cp.Variable(4), cp.Parameter()
    constraints = [cp.diff(x) >= p, x >= 0, x <= 1]
    nearest = FeasibleSet(constraints, x, [p], on_failure="nearest").bind(1.0)
    y = nearest.project(torch.tensor([0.5, -2.0, 0.0, 3.0], dtype=torch.float64))
    slack = cp.Variable(12)
    relaxed = [cp.diff(x) + slack[:3] >= 1, x >= -slack[4:8], x <= 1 + slack[8:]]
    cp.Problem(cp.Minimize(cp.sum_squares(slack)), relaxed).solve(cp.CLARABEL)
    np.testing.assert_allclose(y.numpy(), x.value, atol=1e-5)
    with pytest.raises(InfeasibleError):
        FeasibleSet(constraints, x, [p]).bind(1.0).project(torch.zeros(4))


def test_a_step_whose_bounds_cross_is_named():
    x, p = cp.Variable(4), cp.Parameter()
    constraints = [x[1] - x[0] >= p, x[1] - x[0] <= 1, cp.abs(cp.diff(x[1:])) <= 2]
    with pytest.raises(InfeasibleError) as info:
        FeasibleSet(constraints, x, [p]).bind(2.0).project(torch.zeros(4))
    assert len(info.value.constraints) == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [x[0] <= x[1], x[1] <= x[2], x[1] <= x[3]],  # a tree
        lambda x: [cp.diff(x) >= 0, x[3] - x[0] <= 1],  # a circle
        lambda x: [x[0] <= x[1], x[1] <= 2 * x[2], x[2] <= x[3]],
        lambda x: [x[0] + x[1] >= 0, x[2] >= x[1], x[3] >= x[2]],
        lambda x: [cp.diff(x) >= 0, x[0] + x[1] + x[2] == 1],
        lambda x: [cp.diff(x) >= 0, x >= 0, x[0] + 2 * x[1] + x[2] + x[3] == 1],
        lambda x: [cp.diff(x) >= 0.1, x >= 0, cp.sum(x) == 1],
        lambda x: [cp.diff(x) <= 0, x >= np.array([0, 0.1, 0, 0]), cp.sum(x) == 1],
        lambda x: [cp.norm1(cp.multiply(np.array([1, 2, 1]), cp.diff(x))) <= 1],
        lambda x: [cp.tv(x) <= 1, x >= 0],
        lambda x: [cp.norm1(cp.hstack([cp.diff(x), x[3] - x[0]])) <= 1],
        lambda x: [cp.norm1(cp.diff(x) - 0.1) <= 1],
        lambda x: [cp.sum(cp.pos(cp.diff(x))) <= 1],
    ],
)
def test_what_is_no_chain_is_not_taken_for_one(build):
    x = cp.Variable(4)
    kinds = {piece.kind for piece in FeasibleSet(build(x), x).compiled.pieces if hasattr(piece, "kind")}
    assert not kinds & {Isotonic, OrderSimplex, DifferenceChain, TotalVariationBall}


def test_rows_and_columns_run_as_one_call():
    x = cp.Variable((5, 6))
    for constraint in (cp.diff(x, axis=0) >= 0, cp.diff(x, axis=1) <= 0, cp.abs(cp.diff(x, axis=1)) <= 0.3):
        assert len(FeasibleSet([constraint], x).compiled.pieces) == 1
