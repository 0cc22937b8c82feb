"""Projections in an optimizer's metric, and its momentum after a projection."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from optimizer_steps import OPTIMIZERS, simplex
from torch import nn

from optlayers import FeasibleSet
from optlayers.oracles.weighted_projection import project_weighted
from optlayers.training.projected.project_after_step import project_after_step


def ellipsoid():
    x = cp.Variable(5)
    return [cp.norm(np.diag([1.0, 2.0, 3.0, 1.0, 2.0]) @ (x - 0.1)) <= 0.7], x


def weighted_cases():
    x = cp.Variable(5)
    y = cp.Variable((2, 3))
    yield "box", [x >= 0, x <= 0.5], x
    yield "simplex", [x >= 0, cp.sum(x) == 1], x
    yield "knapsack", [x >= -1, x <= 0.5, np.arange(1.0, 6.0) @ x <= -1], x
    yield "l1", [cp.norm1(x - 0.2) <= 1], x
    yield "asymmetric l1", [cp.sum(cp.pos(x) + 3 * cp.neg(x)) <= 1], x
    yield "l2", [cp.norm(x - 0.2) <= 1], x
    yield "ellipsoid", *ellipsoid()
    yield "slab", [cp.sum(x) <= -1, cp.sum(x) >= -2], x
    yield "monotone", [x[1:] >= x[:-1]], x
    yield "polyhedron", [np.random.default_rng(0).normal(size=(4, 5)) @ x <= -0.5], x
    yield "two pieces", [x[:3] >= 0, cp.sum(x[:3]) == 1, cp.norm(x[3:]) <= 0.3], x
    yield "transport", [y >= 0, cp.sum(y, 0) == 1, cp.sum(y, 1) == 1.5], y
    yield "nuclear", [cp.normNuc(y) <= 1], y


@pytest.mark.parametrize(("constraints", "x"), [pytest.param(c, x, id=name) for name, c, x in weighted_cases()])
def test_weighted_projections_are_those_of_cvxpy(constraints, x):
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(3, *x.shape, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, *x.shape, generator=generator, dtype=torch.float64).exp()
    found = project_weighted(FeasibleSet(constraints), v, weights)
    assert FeasibleSet(constraints).contains(found, atol=1e-7).all()
    for own, point, weight in zip(found, v, weights, strict=True):
        distance = cp.sum(cp.multiply(weight.numpy(), cp.square(x - point.numpy())))
        cp.Problem(cp.Minimize(distance), constraints).solve(solver=cp.CLARABEL)
        assert x.value is not None
        np.testing.assert_allclose(own.numpy(), x.value, atol=2e-4)
        best = distance.value
        x.value = own.numpy()
        assert distance.value < best * (1 + 1e-6)


def test_the_metric_is_the_optimizers():
    target = torch.tensor([1.0, -1.0, 4.0], dtype=torch.float64)
    for name in ("adam", "amsgrad", "rmsprop", "adagrad", "adamax", "centered"):
        weight = nn.Parameter(torch.full((3,), 1 / 3, dtype=torch.float64))
        free = nn.Parameter(weight.detach().clone())
        optimizer, plain = OPTIMIZERS[name]([weight]), OPTIMIZERS[name]([free])
        project_after_step(optimizer, {weight: simplex(3)}, metric="optimizer")
        gradient = 2 * (weight.detach() - target) * torch.tensor([1.0, 10.0, 100.0])
        for _ in range(2):
            free.data.copy_(weight.detach())
            weight.grad, free.grad = gradient.clone(), gradient.clone()
            optimizer.step()
            plain.step()
        state = plain.state[free]
        metric = {
            "adam": lambda s: (s["exp_avg_sq"] / (1 - 0.999 ** float(s["step"]))).sqrt() + 1e-8,
            "amsgrad": lambda s: (s["max_exp_avg_sq"] / (1 - 0.999 ** float(s["step"]))).sqrt() + 1e-8,
            "rmsprop": lambda s: s["square_avg"].sqrt() + 1e-8,
            "centered": lambda s: (s["square_avg"] - s["grad_avg"] ** 2).sqrt() + 1e-8,
            "adagrad": lambda s: s["sum"].sqrt() + 1e-10,
            "adamax": lambda s: s["exp_inf"],
        }[name](state)
        y = cp.Variable(3)
        distance = cp.sum(cp.multiply((metric / metric.mean()).numpy(), cp.square(y - free.detach().numpy())))
        cp.Problem(cp.Minimize(distance), [y >= 0, cp.sum(y) == 1]).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(weight.detach().numpy(), y.value, atol=1e-5)


def test_cleared_momentum_has_no_part_out_of_the_set():
    weight = nn.Parameter(torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    project_after_step(optimizer, {weight: simplex(3)}, clear_momentum=True)
    weight.grad = torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64)
    optimizer.step()
    expected = torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64)  # the face is {0} x the simplex of two entries
    torch.testing.assert_close(optimizer.state[weight]["momentum_buffer"], expected)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("metric", ["euclidean", "optimizer"])
def test_cleared_momentum_steps_within_the_face(name, metric):
    """The next step by the momentum alone, in the optimizer's metric, keeps the sum and the entries at their bounds."""
    weight = nn.Parameter(torch.tensor([0.0, 0.3, 0.3, 0.4], dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight])
    optimizer.param_groups[0]["lr"] = 0.005
    project_after_step(optimizer, {weight: simplex(4)}, metric=metric, clear_momentum=True)
    for gradient in ([30.0, 1.0, 0.1, 0.05], [30.0, 0.1, 0.1, 0.05]):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    state = optimizer.state[weight]
    momentum = state["exp_avg"] if name == "adam" else state["momentum_buffer"]
    move = momentum
    if metric == "optimizer" and name == "adam":
        move = momentum / ((state["exp_avg_sq"] / (1 - 0.999**2)).sqrt() + 1e-8)
    assert weight[0] == 0
    assert momentum[0] == 0
    assert momentum[1:].abs().max() > 1e-3
    assert abs(move.sum()) < 1e-9 * move.abs().max()


def test_clearing_leaves_a_momentum_inside_the_set_alone():
    x = cp.Variable(2)
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], 0.1)
    project_after_step(optimizer, {weight: [cp.norm(x) <= 10]}, clear_momentum=True)
    weight.grad = torch.tensor([1.0, -2.0])
    optimizer.step()
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], 0.1 * weight.grad)
