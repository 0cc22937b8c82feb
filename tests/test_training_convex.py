"""Convex training problems against Clarabel: who reaches the optimum and its duals, and how far the others stay."""

import functools
import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from optlayers.training.priced.adaptive import Adaptive
from optlayers.training.priced.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.lagrangian import Lagrangian
from optlayers.training.priced.penalty import Penalty
from optlayers.training.priced.relations import Equality, Inequality

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
PROBLEMS = importlib.import_module("convex_training").PROBLEMS

problem_of = functools.cache(lambda name: PROBLEMS[name]())
NAMES = list(PROBLEMS)


def relations(problem, how, x):
    if how == "set":
        return [InSet(x, problem.constraints)]
    return [{"inequality": Inequality, "equality": Equality}[kind](f) for kind, f in problem.functions]


def minimise(problem, x, term, calls=1):
    options = {"tolerance_grad": 1e-10, "tolerance_change": 1e-13, "history_size": 30}
    optimizer = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe", **options)

    def closure():
        optimizer.zero_grad()
        loss = term(problem.objective(x))
        loss.backward()
        return loss

    for _ in range(calls):
        optimizer.step(closure)


@pytest.mark.parametrize("weight", [10.0, Adaptive(1.0, limit=1e3)], ids=["constant", "adaptive"])
@pytest.mark.parametrize("how", ["set", "functions"])
@pytest.mark.parametrize("name", NAMES)
def test_augmented_lagrangian_reaches_optimum_and_duals(name, how, weight):
    problem = problem_of(name)
    x = nn.Parameter(problem.start.clone())
    lagrangian = AugmentedLagrangian(relations(problem, how, x), weight, relaxation=1.0)
    for _ in range(60):
        minimise(problem, x, lambda loss: lagrangian(loss, x))
        lagrangian.step(x)
        if lagrangian.kkt(problem.objective(x), x, x).largest < 1e-6:
            break
    assert lagrangian.kkt(problem.objective(x), x, x).largest < 1e-5
    assert (x - problem.optimum).abs().max() < 1e-5
    assert abs(problem.objective(x) - problem.value) < 1e-5 * max(1, abs(problem.value))
    duals = lagrangian.duals(x)
    duals = duals[0] if how == "set" else duals
    for dual, expected in zip(duals, problem.duals, strict=True):
        assert (dual - expected).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_lagrangian_with_a_controller_reaches_optimum_and_duals(name):
    problem = problem_of(name)
    x = nn.Parameter(problem.start.clone())
    lr = 0.5 / problem.lipschitz
    lagrangian = Lagrangian(relations(problem, "functions", x), controller=PI(0.5, 1.0), update="alternating")
    optimizer = torch.optim.SGD([x], lr=lr)
    for _ in range(4000):
        optimizer.zero_grad()
        lagrangian(problem.objective(x), x).backward()
        optimizer.step()
        lagrangian.step(x)
    assert (x - problem.optimum).abs().max() < 1e-5
    for dual, expected in zip(lagrangian.duals(x), problem.duals, strict=True):
        assert (dual - expected).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_exact_penalty_is_exact_above_the_dual_norm_and_not_below(name):
    problem = problem_of(name)
    reached = {}
    for factor in (1.5, 0.5):
        x = nn.Parameter(problem.start.clone())
        penalty = Penalty(problem.constraints, kind="exact", weight=factor * float(problem.normal.norm()))
        optimizer = torch.optim.SGD([x], lr=1 / problem.lipschitz)
        for _ in range(200):
            optimizer.zero_grad()
            problem.objective(x).backward()
            optimizer.step()
            penalty.prox_(x, 1 / problem.lipschitz)
        reached[factor] = float((x.detach() - problem.optimum).abs().max())
    assert reached[1.5] < 1e-6
    assert reached[0.5] > 1e-2


@pytest.mark.parametrize("name", ["simplex_regression", "fair_logistic_regression"])
def test_subgradients_of_an_exact_penalty_stay_near(name):
    problem = problem_of(name)
    x = nn.Parameter(problem.start.clone())
    weight = 1.5 * max(float(dual.abs().max()) for dual in problem.duals)
    penalties = [Penalty(**{kind: f}, kind="exact", weight=weight) for kind, f in problem.functions]
    optimizer = torch.optim.SGD([x], lr=1 / problem.lipschitz)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1e-8 ** (1 / 2000))
    for _ in range(2000):
        optimizer.zero_grad()
        (problem.objective(x) + sum(penalty(x) for penalty in penalties)).backward()
        optimizer.step()
        scheduler.step()
    assert (x - problem.optimum).abs().max() < 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_quadratic_penalty_stays_away_by_the_dual_over_the_weight(name):
    problem = problem_of(name)
    gaps = []
    for weight in (1e2, 1e3):
        x = nn.Parameter(problem.start.clone())
        penalty = Penalty(problem.constraints, weight=weight)
        minimise(problem, x, lambda loss, x=x, penalty=penalty: loss + penalty(x), calls=2)
        gaps.append(float((x.detach() - problem.optimum).norm()))
        distance = float(InSet(x, problem.constraints).distances(x.detach(), 0))
        assert distance * weight == pytest.approx(float(problem.normal.norm()), rel=0.05 if weight == 1e2 else 0.005)
    assert 8 < gaps[0] / gaps[1] < 12


@pytest.mark.parametrize("how", ["set", "functions"])
@pytest.mark.parametrize("name", NAMES)
def test_log_barrier_stays_away_by_the_weight(name, how):
    problem = problem_of(name)
    gaps = []
    for end in (1e-3, 1e-4):
        x = nn.Parameter(problem.start.clone())
        options = {"kind": "log_barrier", "weight": lambda k, end=end: max(0.1**k, end), "outside": "extend"}
        if how == "set":
            penalties = [Penalty(problem.constraints, **options)]
        else:
            penalties = [Penalty(**{kind: f}, **options) for kind, f in problem.functions]
        for _ in range(5):
            minimise(problem, x, lambda loss, x=x, penalties=penalties: loss + sum(p(x) for p in penalties))
            for penalty in penalties:
                penalty.step()
        gaps.append(abs(float(problem.objective(x.detach())) - problem.value))
        for kind, function in problem.functions:
            assert kind == "equality" or bool((function(x) < 0).all()), "strictly inside"
    assert 8 < gaps[0] / gaps[1] < 12
