"""Constraints in Cooper itself: the same steps as our Lagrangian takes, and CVXPY's duals at the end."""

import builtins

import cooper
import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

from optlayers.training.integrations.cooper import CooperConstraint
from optlayers.training.priced.as_numbers import as_numbers
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.lagrangian import Lagrangian
from optlayers.training.priced.relations import Equality, Inequality
from optlayers.training.schedules.clock import Clock

TARGET = torch.tensor([0.9, 0.6, -0.4, 0.2], dtype=torch.float64)


def objective(x):
    return 0.5 * (x - TARGET).square().sum()


class Problem(cooper.ConstrainedMinimizationProblem):
    def __init__(self, x, constraints):
        super().__init__()
        self.x, self.adapters = x, constraints
        for k, adapter in enumerate(constraints):
            setattr(self, f"constraint_{k}", adapter.constraint)

    def compute_cmp_state(self):
        states = {adapter.constraint: adapter.state(self.x) for adapter in self.adapters}
        return cooper.CMPState(loss=objective(self.x), observed_constraints=states)


def run_cooper(x, adapters, steps, dual):
    problem = Problem(x, adapters)
    primal = torch.optim.SGD([x], lr=0.1)
    optimizer = cooper.optim.SimultaneousOptimizer(problem, primal, dual(list(problem.dual_parameters())))
    for _ in range(steps):
        optimizer.roll()
    return [adapter.multiplier for adapter in adapters]


def run_ours(x, relations, steps, **options):
    lagrangian = Lagrangian(relations, **options)
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        lagrangian(objective(x), x).backward()
        optimizer.step()
        lagrangian.step()
    return [multiplier.value for multiplier in lagrangian.multipliers]


def simplex():
    return [Equality(lambda x: x.sum(), level=1.0), Inequality(lambda x: -x)]


def start():
    return nn.Parameter(torch.full((4,), 0.1, dtype=torch.float64))


def adapt(relations, sizes):
    return [CooperConstraint(r, size, dtype=torch.float64) for r, size in zip(relations, sizes, strict=True)]


@pytest.mark.parametrize("steps", [1, 2, 57])
def test_the_simultaneous_update_is_coopers(steps):
    ours, theirs = start(), start()
    y = run_ours(ours, simplex(), steps, lr=0.2)
    z = run_cooper(
        theirs, adapt(simplex(), (1, 4)), steps, lambda p: torch.optim.SGD(p, lr=0.2, maximize=True, foreach=False)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for a, b in zip(y, z, strict=True):
        torch.testing.assert_close(a.reshape(-1), b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_the_controller_is_the_published_recursion(smoothing):
    """Cooper 1.0.1's nuPI starts its average at zero, not at the first error as it documents: so, by hand."""
    stream = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lagrangian = Lagrangian(Inequality(lambda x: x), controller=PI(0.2, 0.3, smoothing=smoothing))
    multiplier, average = torch.zeros((), dtype=torch.float64), stream[0]
    for error in stream:
        x = error.clone().requires_grad_()
        lagrangian(x, x)
        lagrangian.step()
        before, average = average, smoothing * average + (1 - smoothing) * error
        multiplier = (multiplier + 0.2 * error + 0.3 * (average - before)).clamp_min(0)
        torch.testing.assert_close(lagrangian.multipliers[0].value, multiplier)


def test_a_declared_set_in_cooper_reaches_cvxpys_answer():
    v = cp.Variable(4)
    radius = 0.8
    constraints = [cp.sum(v) == 1, cp.norm(v - 0.1) <= radius, v[0] <= 0.5]
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(v - TARGET.numpy())), constraints)
    problem.solve(solver=cp.CLARABEL)
    x = start()
    relations = as_numbers(InSet(lambda x: x, constraints))
    assert [r.kind for r in relations] == ["equality", "inequality"]
    sizes = [r.values((x,)).numel() for r in relations]
    run_cooper(x, adapt(relations, sizes), 3000, lambda p: torch.optim.SGD(p, lr=0.1, maximize=True))
    assert np.abs(x.detach().numpy() - v.value).max() < 1e-5


def test_proxies_and_items_become_strict_violations_and_features():
    relation = Inequality(lambda x: (x > 0).double(), proxy=torch.sigmoid, level=0.25, items=5)
    adapter = CooperConstraint(relation, dtype=torch.float64)
    x, index = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True), torch.tensor([3, 1])
    state = adapter.state(x, index=index)
    torch.testing.assert_close(state.violation, x.sigmoid() - 0.25)
    torch.testing.assert_close(state.strict_violation, torch.tensor([0.75, -0.25], dtype=torch.float64))
    assert state.constraint_features is index
    assert adapter.multiplier.shape == (5,)
    with pytest.raises(ValueError, match="pass index"):
        adapter.state(x)


def test_what_cooper_lacks_is_refused():
    with pytest.raises(ValueError, match="as_numbers"):
        CooperConstraint(InSet(lambda x: x, [cp.Variable(2) >= 0]), 2)
    with pytest.raises(ValueError, match="no averages"):
        CooperConstraint(Inequality(lambda x: x, average=0.9), 1)
    with pytest.raises(ValueError, match="pass size"):
        CooperConstraint(Inequality(lambda x: x))


def test_without_cooper_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **options):
        if name == "cooper":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install"):
        CooperConstraint(Inequality(lambda x: x), 1)


def test_levels_are_those_of_the_clock():
    constraint = CooperConstraint(Inequality(lambda x: x, level=lambda step: 1.0 + step), 1)
    for steps in range(3):
        assert constraint.steps == steps
        assert constraint.state(torch.full((1,), 5.0)).violation.item() == 4.0 - steps
        constraint.step()
    clock = Clock()
    assert CooperConstraint(constraint.relation, 1, clock=clock).clock is clock
