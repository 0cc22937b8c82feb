"""Linear minimisation, Frank-Wolfe and exponentiated gradients against CVXPY."""

from __future__ import annotations

import copy

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

from optlayers import FeasibleSet, InfeasibleError
from optlayers.oracles.entropy_projection import nearest_by_entropy
from optlayers.oracles.linear_minimisation import minimise_by_cvxpy, minimise_linear
from optlayers.training.projected.exponentiated_gradient import ExponentiatedGradient
from optlayers.training.projected.frank_wolfe import FrankWolfe, stochastic_momentum
from optlayers.training.schedules.scheduled_set import ScheduledSet


def bounded_sets():
    x, y, s = cp.Variable(5), cp.Variable((3, 3)), cp.Variable((3, 3), symmetric=True)
    wide = cp.Variable((2, 4))
    a = np.arange(1.0, 6.0)
    matrix = np.random.default_rng(0).normal(size=(5, 5)) + 3 * np.eye(5)
    yield "box", [x >= -1, x <= a], x, True
    yield "simplex", [x >= 0, cp.sum(x) == 2], x, True
    yield "capped simplex", [x >= 0, x <= 0.4, cp.sum(x) == 1], x, True
    yield "budget", [x >= 0, a @ x <= 1], x, True
    yield "knapsack", [x >= -1, x <= 1, a @ x <= 2, a @ x >= -1], x, True
    yield "signed section", [x >= -1, x <= 1, (a - 3.5) @ x == 1], x, True
    yield "section with a zero", [x >= -1, x <= 1, (a - 3) @ x == 1], x, True
    yield "l1", [cp.norm1(x - 1) <= 1], x, True
    yield "asymmetric l1", [cp.sum(2 * cp.pos(x) + cp.neg(x)) <= 1], x, True
    yield "l2", [cp.norm(x - 1) <= 2], x, True
    yield "linf", [cp.norm_inf(x) <= 2], x, True
    yield "ellipsoid", [cp.norm(np.diag(a) @ (x - 1)) <= 2], x, True
    yield "turned ellipsoid", [cp.norm(matrix @ (x - 1)) <= 2], x, True
    yield "nuclear", [cp.normNuc(wide - 0.1) <= 2], wide, True
    yield "symmetric nuclear", [cp.normNuc(s) <= 2], s, True
    yield "spectral", [cp.sigma_max(wide) <= 2], wide, True
    yield "spectraplex", [s >> 0, cp.trace(s) == 1], s, True
    yield "fantope", [s >> 0, s << np.eye(3), cp.trace(s) == 2], s, True
    yield "Birkhoff", [y >= 0, cp.sum(y, 0) == 1, cp.sum(y, 1) == 1], y, True
    yield "transport", [y >= 0, cp.sum(y, 0) == a[:3], cp.sum(y, 1) == a[2::-1]], y, False
    yield "polyhedron", [x >= 0, x <= 1, matrix @ x <= 2], x, False
    yield "two pieces", [x[:3] >= 0, cp.sum(x[:3]) == 1, cp.norm(x[3:]) <= 0.3], x, True


@pytest.mark.parametrize(
    ("constraints", "x", "closed"), [pytest.param(c, x, closed, id=name) for name, c, x, closed in bounded_sets()]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_linear_minima_are_those_of_cvxpy(constraints, x, closed, dtype, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return minimise_by_cvxpy(*arguments)

    monkeypatch.setattr("optlayers.oracles.linear_minimisation.minimise_by_cvxpy", counted)
    own = FeasibleSet(constraints)
    gradient = torch.randn(2, 3, *x.shape, dtype=dtype)
    gradient[0, 0] = gradient[0, 0].sign()  # ties
    vertex = minimise_linear(own, gradient)
    assert vertex.dtype == dtype
    assert vertex.shape == gradient.shape
    assert own.contains(vertex, atol=1e-6 if dtype == torch.float64 else 1e-5).all()
    for one, g in zip(vertex.flatten(0, 1), gradient.flatten(0, 1), strict=True):
        value = cp.Problem(cp.Minimize(cp.sum(cp.multiply(g.double().numpy(), x))), constraints).solve(
            solver=cp.CLARABEL
        )
        assert float((one.double() * g.double()).sum()) == pytest.approx(value, abs=1e-5)
    assert bool(calls) is not closed
    zero = minimise_linear(own, torch.zeros_like(gradient))
    assert own.contains(zero, atol=1e-5).all()


def test_sets_that_are_not_bounded_and_empty_ones():
    x, level = cp.Variable(3), cp.Parameter(name="level")
    y = cp.Variable((2, 2))
    for constraints, variable in (
        ([x >= 0], x),
        ([cp.sum(x) <= 1], x),
        ([cp.sum(x) <= 1, x[0] <= 2], x),
        ([x[0] >= x[1], x >= 0], x),
        ([cp.norm(x[:2]) <= 1], x),
        ([y >> 0, cp.trace(y) == 1], y),
    ):
        with pytest.raises(ValueError, match="not bounded"):
            minimise_linear(FeasibleSet(constraints), -torch.arange(1.0, variable.size + 1).reshape(variable.shape))
    own = FeasibleSet([x >= 0, cp.sum(x) == level]).bind(level=-1.0)
    with pytest.raises(InfeasibleError):
        minimise_linear(own, torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        minimise_linear(FeasibleSet([x >= 0, x <= 1]), torch.tensor([0.0, torch.nan, 0.0]))


def test_parameters_of_the_fallback_carry_the_batch():
    x, level = cp.Variable(3), cp.Parameter(3, name="level")
    own = FeasibleSet([x[1:] >= x[:-1], cp.sum(x) <= 1, x >= -level, cp.norm(x) <= 5])
    levels = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]], dtype=torch.float64)
    vertex = minimise_linear(own.bind(level=levels), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(vertex.sum(-1), torch.tensor([-3.0, -2.0], dtype=torch.float64), atol=1e-5, rtol=0)
    assert level.value is None


def regression(seed: int = 0, n: int = 8):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(30, n, generator=generator, dtype=torch.float64)
    b = torch.randn(30, generator=generator, dtype=torch.float64)
    return a, b


def test_the_gap_bounds_the_suboptimality():
    a, b = regression()
    x = cp.Variable(8)
    constraints = [cp.norm1(x) <= 0.5]
    best = cp.Problem(cp.Minimize(cp.sum_squares(a.numpy() @ x - b.numpy()) / 2), constraints).solve(solver=cp.CLARABEL)
    weight = nn.Parameter(torch.randn(8, dtype=torch.float64))
    optimizer = FrankWolfe({weight: constraints})
    assert optimizer.gap == float("inf")

    def closure():
        optimizer.zero_grad()
        loss = (a @ weight - b).square().sum() / 2
        loss.backward()
        return loss

    smallest = np.inf
    for _ in range(2000):
        loss = optimizer.step(closure).item()
        assert loss - best <= optimizer.gap + 1e-7
        smallest = min(smallest, optimizer.gap)
    assert smallest < 0.02 * best
    assert loss - best < 1e-2
    assert FeasibleSet(constraints).contains(weight.detach(), atol=1e-9)


def test_an_optimum_at_a_vertex_is_reached_exactly():
    weight = nn.Parameter(torch.rand(3, 4, dtype=torch.float64))
    x = cp.Variable(4)
    target = torch.eye(4, dtype=torch.float64)[:3] * 2
    optimizer = FrankWolfe({weight: [x >= 0, cp.sum(x) == 1]})
    for _ in range(3):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(weight.detach(), target / 2)
    assert optimizer.gap < 1e-9


def test_averaged_gradients_survive_noise():
    """With mini-batches of one row the averaged direction comes close to the optimum, the plain one does not."""
    a, b = regression(1)
    x = cp.Variable(8)
    constraints = [cp.norm(x) <= 0.3]
    best = cp.Problem(cp.Minimize(cp.sum_squares(a.numpy() @ x - b.numpy()) / 2), constraints).solve(solver=cp.CLARABEL)
    excess = {}
    for name, momentum in (("plain", 0.0), ("averaged", stochastic_momentum)):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(8, dtype=torch.float64))
        optimizer = FrankWolfe({weight: constraints}, lr=lambda step: 1 / (step + 8), momentum=momentum)
        for _ in range(1000):
            row = int(torch.randint(30, ()))
            optimizer.zero_grad()
            ((a[row] @ weight - b[row]).square() / 2).backward()
            optimizer.step()
        excess[name] = ((a @ weight - b).square().sum() / 2).item() - best
    assert excess["averaged"] < 0.3 * excess["plain"]


def test_state_schedulers_and_moving_sets():
    x, radius = cp.Variable(3), cp.Parameter(name="radius", nonneg=True)
    moving = ScheduledSet([cp.norm(x) <= radius], radius=lambda step: 1 / (step + 1))
    weight = nn.Parameter(torch.ones(2, 3))
    optimizer = FrankWolfe({weight: moving}, lr=0.5, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for step in range(3):
        weight.grad = torch.randn(2, 3)
        optimizer.step()
        scheduler.step()
        assert (weight.norm(dim=-1) <= 1 / (step + 2) + 1e-6).all()
    assert optimizer.param_groups[0]["lr"] == 0.0625
    other = nn.Parameter(weight.detach().clone())
    resumed = FrankWolfe({other: moving}, lr=0.5, momentum=0.5)
    other.data.copy_(weight.detach())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    gradient = torch.randn(2, 3)
    for one, parameter in ((optimizer, weight), (resumed, other)):
        parameter.grad = gradient.clone()
        one.step()
    assert torch.equal(weight.detach(), other.detach())
    with pytest.raises(ValueError, match=r"lr >= 0 and lr <= 1, got 1\.5"):
        FrankWolfe({weight: moving}, lr=1.5)
    with pytest.raises(ValueError, match="dict"):
        FrankWolfe([weight])  # type: ignore[arg-type]


def entropic_sets():
    x = cp.Variable(4)
    a = np.array([1.0, 2.0, 0.5, 3.0])
    yield "simplex", [x >= 0, cp.sum(x) == 2], x
    yield "capped", [x >= 0, x <= 0.4, cp.sum(x) == 1], x
    yield "partly capped", [x >= 0, x[:2] <= 0.2, cp.sum(x) == 1], x
    yield "weighted", [x >= 0, a @ x == 1.5], x
    yield "budget", [x >= 0, cp.sum(x) <= 1], x
    yield "slack budget", [x >= 0, x <= 3, a @ x <= 100], x
    yield "box", [x >= 0, x <= 0.7], x
    yield "at least", [x >= 0, cp.sum(x) >= 20], x


@pytest.mark.parametrize(("constraints", "x"), [pytest.param(c, x, id=name) for name, c, x in entropic_sets()])
def test_nearest_points_by_entropy_are_those_of_cvxpy(constraints, x):
    z = torch.rand(3, 4, dtype=torch.float64) + 0.05
    found = nearest_by_entropy(FeasibleSet(constraints), z.log())
    assert FeasibleSet(constraints).contains(found, atol=1e-9).all()
    for own, point in zip(found, z, strict=True):
        cp.Problem(cp.Minimize(cp.sum(cp.kl_div(x, point.numpy()))), constraints).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(own.numpy(), x.value, atol=1e-4, rtol=1e-4)
    extreme = nearest_by_entropy(FeasibleSet(constraints), 1e3 * torch.randn(3, 4))
    if "slack" not in str(constraints):
        assert not extreme.isnan().any()


def test_exponentiated_gradients_reach_the_optimum():
    a, b = regression(2)
    x = cp.Variable(8)
    constraints = [x >= 0, cp.sum(x) == 1]
    best = cp.Problem(cp.Minimize(cp.sum_squares(a.numpy() @ x - b.numpy()) / 2), constraints).solve(solver=cp.CLARABEL)
    weight = nn.Parameter(torch.full((8,), 1.0, dtype=torch.float64))
    optimizer = ExponentiatedGradient({weight: constraints}, lr=0.05)
    torch.testing.assert_close(weight.detach(), torch.full((8,), 0.125, dtype=torch.float64))
    for _ in range(2000):
        optimizer.zero_grad()
        loss = (a @ weight - b).square().sum() / 2
        loss.backward()
        optimizer.step()
    assert loss.item() - best < 1e-5


def test_exponentiated_gradients_in_half_precision_and_their_errors():
    x = cp.Variable(4)
    weight = nn.Parameter(torch.ones(3, 4, dtype=torch.bfloat16))
    optimizer = ExponentiatedGradient({weight: [x >= 0, cp.sum(x) == 1]}, lr=100.0)
    for _ in range(3):
        weight.grad = torch.randn(3, 4).bfloat16()
        optimizer.step()
        assert weight.isfinite().all()
    torch.testing.assert_close(weight.float().sum(-1), torch.ones(3), atol=2e-2, rtol=0)
    with pytest.raises(ValueError, match="boxes from zero"):
        ExponentiatedGradient({nn.Parameter(torch.ones(4)): [cp.norm(x) <= 1]})
    with pytest.raises(ValueError, match="boxes from zero"):
        ExponentiatedGradient({nn.Parameter(torch.ones(4)): [x >= -1, cp.sum(x) == 1]})
    with pytest.raises(ValueError, match="not positive"):
        ExponentiatedGradient({nn.Parameter(torch.zeros(4)): [x >= 0, cp.sum(x) == 1]})
    with pytest.raises(ValueError, match="lr > 0"):
        ExponentiatedGradient({weight: [x >= 0, cp.sum(x) == 1]}, lr=0.0)
