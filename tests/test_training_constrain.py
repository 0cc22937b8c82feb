"""One string switches the strategy: what all of them promise, on problems with a known answer."""

import copy

import cvxpy as cp
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from optlayers import ScheduledSet, constrain
from optlayers.training import linear

STRATEGIES = {
    "projection": ("projection", {}),
    "reparametrization": ("reparametrization", {"margin": 1e-2}),
    "projected reparametrization": ("reparametrization", {"how": "projection"}),
    "penalty": ("penalty", {"weight": 100.0}),
    "augmented_lagrangian": ("augmented_lagrangian", {"weight": 3.0, "every": 10, "relaxation": 0.5}),
}
SCHEDULE = {"penalty": (1500, 0.009), "reparametrization": (1000, 5.0)}  # steps and learning rate
TARGET = torch.tensor([0.9, 0.5, -0.3, 0.1], dtype=torch.float64)
OPTIMUM = torch.tensor([0.7, 0.3, 0.0, 0.0], dtype=torch.float64)  # TARGET, projected onto the simplex


class Weights(nn.Module):
    def __init__(self, *rows):
        super().__init__()
        self.weight = nn.Parameter(torch.full((*rows, 4), 0.25, dtype=torch.float64))

    def forward(self):
        return (self.weight - TARGET).square().sum() / 2


def simplex():
    w = cp.Variable(4, name="w")
    return [w >= 0, cp.sum(w) == 1]


def train(module, held, steps=400, lr=0.3):
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        held(module()).backward()
        optimizer.step()
        held.step()


@pytest.mark.parametrize("label", STRATEGIES)
def test_all_strategies_on_one_problem(label):
    strategy, options = STRATEGIES[label]
    module = Weights()
    held = constrain(module, "weight", simplex(), strategy, **options)
    train(module, held, *SCHEDULE.get(label, (400, 0.2)))
    before, violation = module.weight.detach().clone(), float(held.violation())
    # a smooth map comes near vertices slowly; a quadratic penalty stays 1/weight away
    accuracy = {"reparametrization": 1e-2, "penalty": 1e-2}.get(label, 1e-5)
    torch.testing.assert_close(before, OPTIMUM, rtol=0, atol=accuracy)
    if label == "penalty":
        assert 1e-4 < violation < 1e-2
    else:
        assert violation < 1e-5
    held.finish()
    assert isinstance(module.weight, nn.Parameter)
    assert not is_parametrized(module)
    assert float(held.violation()) < 1e-12
    torch.testing.assert_close(module.weight.detach(), OPTIMUM, rtol=0, atol=accuracy)


@pytest.mark.parametrize("label", STRATEGIES)
def test_sets_that_move(label):
    strategy, options = STRATEGIES[label]
    w, cap = cp.Variable(4, name="w"), cp.Parameter(name="cap")
    module = Weights(2)
    moving = ScheduledSet([w >= 0, w <= cap, cp.sum(w) == 1], cap=linear(1.0, 0.4, 100))
    held = constrain(module, "weight", moving, strategy, **options)
    optimum = moving.at(100).project(TARGET)
    train(module, held, *SCHEDULE.get(label, (500, 0.2)))
    accuracy = {"reparametrization": 2e-2, "penalty": 2e-2}.get(label, 1e-5)
    torch.testing.assert_close(module.weight.detach(), optimum.expand(2, 4), rtol=0, atol=accuracy)
    held.finish()
    assert float(module.weight.detach().max()) <= 0.4 + 1e-12


@pytest.mark.parametrize("label", ["projection", "penalty", "augmented_lagrangian"])
def test_state_goes_on(label):
    strategy, options = STRATEGIES[label]
    module = Weights()
    held = constrain(module, "weight", simplex(), strategy, **options)
    train(module, held, steps=25, lr=0.009)
    other = copy.deepcopy(module)
    again = constrain(other, "weight", simplex(), strategy, **options)
    again.load_state_dict(held.state_dict())
    other.load_state_dict(module.state_dict())
    for one, its in ((module, held), (other, again)):
        train(one, its, steps=25, lr=0.009)
    torch.testing.assert_close(module.weight, other.weight, rtol=0, atol=0)
    assert int(again.steps) == 50


def test_every_so_many_steps():
    module = Weights()
    held = constrain(module, "weight", simplex(), "projection", every=3)
    violations = []
    for _ in range(6):
        with torch.no_grad():
            module.weight.add_(1.0)
        held.step()
        violations.append(float(held.violation()) > 1e-6)
    assert violations == [True, True, False, True, True, False]


def test_errors():
    module = Weights()
    with pytest.raises(ValueError, match="expected a parameter, the module has no parameter of that name"):
        constrain(module, "bias", simplex(), "projection")
    with pytest.raises(ValueError, match="strategy"):
        constrain(module, "weight", simplex(), "hope")
    with pytest.raises(ValueError, match="every"):
        constrain(module, "weight", simplex(), "projection", every=0)
    x = cp.Variable(3)
    with pytest.raises(ValueError, match=r"has the shape \(4,\), the variable \(3,\)"):
        constrain(module, "weight", [x >= 0], "penalty")
    constrain(module, "weight", simplex(), "reparametrization")
    with pytest.raises(ValueError, match="parametrized already"):
        constrain(module, "weight", simplex(), "projection")
