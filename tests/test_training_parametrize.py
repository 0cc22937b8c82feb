"""Tensors held to sets by parametrizations: maps stay inside, invert, differentiate, and serve torch's machinery."""

import copy

import cvxpy as cp
import numpy as np
import pytest
import torch
from smooth_sets import SETS, X, smooth, x
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations

from optlayers import FeasibleSet
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map, smooth_map
from optlayers.oracles.smooth_set import SmoothSet
from optlayers.sets.l1_ball import L1Ball
from optlayers.training.reparametrized.parametrize import parametrize
from optlayers.training.schedules.scheduled_set import ScheduledSet
from optlayers.training.schedules.schedules import linear


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("smooth", {}),
        ("projection", {"gradient": "straight_through"}),
        ("projection", {"gradient": "straight_through", "pull": 1.0}),
    ],
)
def test_rows_of_a_weight_are_held_to_their_own_simplex(how: str, options: dict) -> None:
    module = nn.Linear(5, 4)
    before, first = module.weight, module.weight.detach().clone()
    own = parametrize(module, "weight", [x >= 0, cp.sum(x) == 1], how, **options)
    assert module.parametrizations.weight.original is before
    torch.testing.assert_close(module.weight, own.feasible_set.project(first), atol=1e-4, rtol=0)
    algorithm = torch.optim.SGD if how == "projection" else torch.optim.Adam
    optimizer = algorithm(module.parameters(), lr=0.3 if how == "projection" else 0.05)
    inputs, target = torch.randn(64, 5), torch.softmax(torch.randn(4, 5), -1)
    for _ in range(1000):
        optimizer.zero_grad()
        (module(inputs) - inputs @ target.T).square().mean().backward()
        optimizer.step()
        assert own.feasible_set.violation(module.weight).max() < 1e-6
    assert (module.weight - target).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["simplex", "capped simplex", "ball", "spectraplex", "falling"])
def test_feasible_values_are_assigned_and_infeasible_ones_are_not(name: str) -> None:
    shape = smooth(name).feasible_set.variables[0].shape
    module = nn.Module()
    module.weight = nn.Parameter(torch.randn(2, *shape))
    own = parametrize(module, "weight", SETS[name], "smooth")
    value = smooth(name).forward(torch.randn(2, *shape))
    with torch.no_grad():
        module.weight = value
    torch.testing.assert_close(module.weight, value, atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="expected a feasible value, got one that violates the set by"):
        module.weight = value + 1
    projected = nn.Module()
    projected.weight = nn.Parameter(torch.randn(2, *shape))
    parametrize(projected, "weight", SETS[name])
    projected.weight = value + 1
    torch.testing.assert_close(projected.weight, own.feasible_set.project(value + 1))


def test_the_margin_is_how_far_a_start_is_pulled_inside() -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([-1.0, 2.0, 0.0, 1.0, 1.0]))
    parametrize(module, "weight", [x >= 0], "smooth", margin=0.01)
    torch.testing.assert_close(module.weight, torch.tensor([0.01, 2.0, 0.01, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("constraints", "reason"),
    [
        ([cp.norm1(x) <= 1], "L1 ball"),
        ([x >= 0, x <= 1, cp.sum(x) <= 2], "knapsack"),
        ([x >= 0, cp.sum(x) == 1, np.arange(5) @ x <= 2], "a set of"),
    ],
)
def test_a_set_without_smooth_map_is_named_and_the_others_are_offered(constraints: list, reason: str) -> None:
    with pytest.raises(ValueError, match=f'no smooth map onto .*{reason}.*how="projection" takes every set'):
        parametrize(nn.Linear(5, 2), "weight", constraints, "smooth")


def test_other_errors() -> None:
    linear_module = nn.Linear(5, 2)
    with pytest.raises(ValueError, match="how: expected one of 'projection', 'smooth'"):
        parametrize(linear_module, "weight", [x >= 0], "softmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Linear has no parameter or buffer 'wait'"):
        parametrize(linear_module, "wait", [x >= 0])
    with pytest.raises(ValueError, match="weight has the shape"):
        parametrize(linear_module, "weight", [X >> 0])
    with pytest.raises(ValueError, match="gradient and pull are options of"):
        parametrize(linear_module, "weight", [x >= 0], "smooth", pull=1.0)
    with pytest.raises(ValueError, match="margin"):
        parametrize(linear_module, "weight", [x >= 0], "smooth", margin=0.0)
    with pytest.raises(ValueError, match="expected a class of closed-form sets"):
        register_smooth_map("simplex")  # type: ignore[arg-type]


def test_a_user_registers_a_map() -> None:
    class TwoSoftmaxes(SmoothMap):
        """``radius (softmax(x, 0) - softmax(0, x))``, shared out: a crude map into the L1 ball."""

        def forward(self, raw: Tensor) -> Tensor:
            return self.bound.radius.unsqueeze(-1) * raw / (1 + (1 + raw.square()).sqrt().sum(-1, keepdim=True))

        def inverse(self, y: Tensor, margin: float) -> Tensor:
            raise NotImplementedError

    try:
        register_smooth_map(L1Ball)(TwoSoftmaxes)
        own = SmoothSet.of(FeasibleSet([cp.norm1(x) <= 2]))
        y = own.forward(torch.randn(50, 5) * 10)
        assert own.feasible_set.contains(y).all()
        assert own.kinds == (TwoSoftmaxes,)
    finally:
        smooth_map.unregister(L1Ball)


@pytest.mark.parametrize("how", ["projection", "smooth"])
def test_a_set_that_moves(how: str) -> None:
    cap = cp.Parameter(name="cap")
    moving = ScheduledSet([x >= 0, x <= cap, cp.sum(x) == 1], cap=linear(0.8, 0.3, 5))

    def make() -> nn.Linear:
        module = nn.Linear(5, 2)
        with torch.no_grad():
            module.weight.copy_(torch.eye(2, 5))
        parametrize(module, "weight", moving, how)
        return module

    module = make()
    (own,) = module.parametrizations.weight
    assert abs(module.weight.max().item() - 0.8) < 1e-5
    for step in range(1, 6):
        own.step()
        assert abs(module.weight.max().item() - (0.8 - 0.1 * step)) < 1e-5
        assert module.parametrizations.weight[0].feasible_set.contains(module.weight).all()
    other = make()
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other.weight, module.weight, rtol=0, atol=0)
    assert int(other.parametrizations.weight[0].steps) == 5
    copied = copy.deepcopy(module)
    copied.parametrizations.weight[0].step()
    assert int(module.parametrizations.weight[0].steps) == 5
    torch.testing.assert_close(copied.weight, module.weight)


@pytest.mark.parametrize("how", ["projection", "smooth"])
def test_torch_machinery(how: str) -> None:
    module = nn.Linear(5, 2)
    parametrize(module, "weight", [x >= 0, x <= 0.5, cp.sum(x) == 1], how)
    assert set(module.state_dict()) == {"bias", "parametrizations.weight.original"}
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.parametrizations.weight.original += torch.randn(2, 5)
    assert not torch.equal(other.weight, module.weight)
    module.load_state_dict(other.state_dict())
    assert torch.equal(other.weight, module.weight)
    inputs = torch.randn(3, 5)
    value = module(inputs)
    compiled = torch.compile(copy.deepcopy(module), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs), value)
    value.square().sum().backward()
    compiled(inputs).square().sum().backward()
    gradient = module.parametrizations.weight.original.grad
    torch.testing.assert_close(compiled.parametrizations.weight.original.grad, gradient)
    half = copy.deepcopy(module).to(torch.bfloat16)
    assert half.weight.dtype == torch.bfloat16
    torch.testing.assert_close(half.weight.float(), module.weight, atol=0.02, rtol=0.02)
    weight = module.weight.detach().clone()
    remove_parametrizations(module, "weight")
    assert isinstance(module.weight, nn.Parameter)
    assert torch.equal(module.weight, weight)


def test_stacks_on_other_parametrizations() -> None:
    module = nn.Linear(5, 5)
    torch.nn.utils.parametrizations.weight_norm(module)
    own = parametrize(module, "weight", [x >= 0], "smooth", margin=0.01)
    assert own.feasible_set.contains(module.weight).all()
    assert (module.weight > 0).all()
