"""Projected methods reach CVXPY's optima to 1e-5: constrained least squares, simplex regression, the SVM's dual."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

from optlayers.training.projected.frank_wolfe import FrankWolfe
from optlayers.training.projected.project_after_step import project_after_step

STEPS = {"least_squares": 60, "simplex_regression": 600, "svm_dual": 600}


def least_squares():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(40, 10)), generator.normal(size=40)
    x = cp.Variable(10)
    constraints = [x >= -0.1, np.ones(10) @ x <= 0.2, cp.norm(x) <= 0.4]
    return a.T @ a, -a.T @ b, constraints, x


def simplex_regression():
    generator = np.random.default_rng(1)
    a = generator.normal(size=(50, 12))
    b = a[:, :3] @ [0.2, 0.5, 0.3] + 0.3 * generator.normal(size=50)
    x = cp.Variable(12)
    return a.T @ a, -a.T @ b, [x >= 0, cp.sum(x) == 1], x


def svm_dual():
    generator = np.random.default_rng(2)
    points, label = generator.normal(size=(30, 3)), np.repeat([-1.0, 1.0], 15)
    points += 0.7 * label[:, None]
    kernel = np.exp(-np.square(points[:, None] - points[None]).sum(-1) / 2)
    x = cp.Variable(30)
    return label[:, None] * kernel * label, -np.ones(30), [x >= 0, x <= 1, label @ x == 0], x


PROBLEMS = {f.__name__: f for f in (least_squares, simplex_regression, svm_dual)}


def optimum(name):
    matrix, linear, constraints, x = PROBLEMS[name]()
    objective = cp.Minimize(cp.quad_form(x, cp.psd_wrap(matrix)) / 2 + linear @ x)
    value = cp.Problem(objective, constraints).solve(solver=cp.CLARABEL)
    return torch.tensor(matrix), torch.tensor(linear), constraints, x.value, value


METHODS = {
    "gradient": lambda p, lipschitz: torch.optim.SGD(p, 1 / lipschitz),
    "nesterov": lambda p, lipschitz: torch.optim.SGD(p, 1 / lipschitz, momentum=0.8, nesterov=True),
    "adam": lambda p, lipschitz: torch.optim.Adam(p, 0.05),
    "rmsprop": lambda p, lipschitz: torch.optim.RMSprop(p, 0.02),
}
EXACT = [("gradient", {}), ("nesterov", {}), ("nesterov", {"clear_momentum": True})]
ADAPTIVE = [
    ("adam", {"metric": "optimizer"}),
    ("adam", {"metric": "optimizer", "clear_momentum": True}),
    ("rmsprop", {"metric": "optimizer"}),
]


def train(name, method, options):
    """Return the last point, its objective's excess, and the optimum."""
    matrix, linear, constraints, best, value = optimum(name)
    weight = nn.Parameter(torch.zeros(len(linear), dtype=torch.float64))
    optimizer = METHODS[method]([weight], float(torch.linalg.eigvalsh(matrix)[-1]))
    project_after_step(optimizer, {weight: constraints}, **options)
    adaptive = method in ("adam", "rmsprop")
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1e-8 ** (1 / STEPS[name]) if adaptive else 1.0)
    for _ in range(STEPS[name]):
        optimizer.zero_grad()
        loss = weight @ matrix @ weight / 2 + linear @ weight
        loss.backward()
        optimizer.step()
        scheduler.step()
    x = weight.detach()
    return x, float(x @ matrix @ x / 2 + linear @ x) - value, torch.tensor(best)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize(("method", "options"), EXACT)
def test_projected_methods_reach_the_optimum(name, method, options):
    x, excess, best = train(name, method, options)
    assert abs(excess) < 1e-5
    assert (x - best).abs().max() < 1e-4


@pytest.mark.parametrize(("method", "options"), ADAPTIVE)
def test_adaptive_methods_reach_the_optimum_in_their_own_metric(method, options):
    assert abs(train("simplex_regression", method, options)[1]) < 1e-5


def test_adam_stays_away_from_the_optimum_in_the_euclidean_metric():
    assert train("simplex_regression", "adam", {})[1] > 1e-4


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_gap_of_frank_wolfe_says_how_far_it_stays(name):
    matrix, linear, constraints, _, value = optimum(name)
    weight = nn.Parameter(torch.zeros(len(linear), dtype=torch.float64))
    optimizer = FrankWolfe({weight: constraints})
    for _ in range(300):
        optimizer.zero_grad()
        loss = weight @ matrix @ weight / 2 + linear @ weight
        loss.backward()
        optimizer.step()
        assert -1e-6 <= loss.item() - value <= optimizer.gap + 1e-6
    assert loss.item() - value < 0.05 * abs(value)
