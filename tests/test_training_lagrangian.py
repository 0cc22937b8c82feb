"""The parts of Lagrangians: updates by hand, proxies, items, averages, levels that move, states."""

import copy
import io
import math

import cvxpy as cp
import pytest
import torch
from torch import nn

from optlayers.training.priced.adaptive import Adaptive
from optlayers.training.priced.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.lagrangian import Lagrangian
from optlayers.training.priced.multipliers import Multiplier
from optlayers.training.priced.relations import Equality, Inequality
from optlayers.training.schedules.scheduled_set import ScheduledSet


def tensor(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def test_updates_by_hand():
    x = nn.Parameter(tensor(1.0, -2.0))
    lagrangian = Lagrangian([Inequality(lambda x: x, level=0.5), Equality(lambda x: x.sum())], lr=0.1)
    objective = x.square().sum()
    assert lagrangian(objective, x).item() == objective.item()
    lagrangian.step()
    torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(0.05, 0.0))
    torch.testing.assert_close(lagrangian.multipliers[1].value, tensor(-0.1).squeeze())
    loss = lagrangian(x.square().sum(), x)
    torch.testing.assert_close(loss, 5 + 0.05 * tensor(0.5).squeeze() + 0.1)
    (gradient,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(gradient, tensor(2 + 0.05 - 0.1, -4 - 0.1))


def test_augmented_update_is_the_classical_one():
    x = nn.Parameter(tensor(1.0, -2.0))
    lagrangian = AugmentedLagrangian([Inequality(lambda x: x), Equality(lambda x: x)], 3.0, relaxation=1.0)
    for _ in range(2):
        y, z = (m.value.clone() if m.value.numel() else torch.zeros(2) for m in lagrangian.multipliers)
        loss = lagrangian(x.sum(), x)
        (gradient,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(gradient, 1 + (y + 3 * x.detach()).clamp_min(0) + z + 3 * x.detach())
        lagrangian.step(x)
        torch.testing.assert_close(lagrangian.multipliers[0].value, (y + 3 * x.detach()).clamp_min(0))
        torch.testing.assert_close(lagrangian.multipliers[1].value, z + 3 * x.detach())


def test_alternating_follows_the_new_parameters():
    x = nn.Parameter(tensor(1.0))
    lagrangian = Lagrangian(Inequality(lambda x: x), 1.0, update="alternating")
    lagrangian(x.sum(), x)
    with torch.no_grad():
        x.fill_(3.0)
    lagrangian.step(x)
    torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(3.0))


def test_calls_between_steps_are_averaged():
    x = nn.Parameter(tensor(0.0))
    lagrangian = Lagrangian(Inequality(lambda x, shift: x + shift), 1.0)
    for shift in (1.0, 2.0, 6.0):
        lagrangian(x.sum(), x, shift)
    lagrangian.eval()
    lagrangian(x.sum(), x, 100.0)
    lagrangian.step()
    torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(3.0))
    with pytest.raises(ValueError, match="since the last step"):
        lagrangian.step()


def test_a_proxy_gives_the_gradient_and_the_rate_the_multiplier():
    x = nn.Parameter(tensor(-1.0, 1.0, 2.0))
    rate = Inequality(lambda x: (x > 0).double().mean(), proxy=lambda x: x.sigmoid().mean(), level=0.5)
    for lagrangian in (Lagrangian(rate, 1.0), AugmentedLagrangian(rate, 1.0, relaxation=1.0)):
        lagrangian(x.sum(), x)
        lagrangian.step(*([x] if lagrangian.update == "alternating" else []))
        y = lagrangian.multipliers[0].value
        assert y.item() == pytest.approx(2 / 3 - 0.5)
        (gradient,) = torch.autograd.grad(lagrangian(0 * x.sum(), x), x)
        coefficient = y if lagrangian.update == "simultaneous" else y + 2 / 3 - 0.5
        torch.testing.assert_close(gradient, coefficient * torch.func.grad(lambda x: x.sigmoid().mean())(x.detach()))


@pytest.mark.parametrize("make", [lambda r: Lagrangian(r, 1.0), lambda r: AugmentedLagrangian(r, 1.0, relaxation=1.0)])
def test_items_have_multipliers_of_their_own(make):
    x = nn.Parameter(tensor(1.0, 2.0, -3.0, 4.0))
    lagrangian = make([Inequality(lambda x, index: x[index], items=4), Equality(lambda x, index: x.sum())])
    index = torch.tensor([3, 0, 3])
    lagrangian(x.sum(), x, index, index=index)
    lagrangian.step(
        *([x, index] if lagrangian.update == "alternating" else []),
        **({"index": index} if lagrangian.update == "alternating" else {}),
    )
    torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(1.0, 0.0, 0.0, 4.0))
    index = torch.tensor([0, 1])
    (gradient,) = torch.autograd.grad(lagrangian(0 * x.sum(), x, index, index=index), x)
    own, shared = (1.0, 4.0) if lagrangian.update == "simultaneous" else (2.0, 8.0)
    second = 0.0 if lagrangian.update == "simultaneous" else 2.0
    torch.testing.assert_close(gradient, shared + tensor(own / 2, second / 2, 0.0, 0.0))
    with pytest.raises(ValueError, match="pass index="):
        lagrangian(x.sum(), x, index)


def test_constraints_on_samples_reach_their_optimum():
    """minimise mean (x_i - t_i)^2 / 2 with x_i <= 0: multipliers of 1/n sum are max(t_i, 0)."""
    target = tensor(1.0, -0.5, 2.0, 0.3, -1.0, 0.7)
    x = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    lagrangian = Lagrangian(Inequality(lambda value: value, items=6), controller=PI(0.5, 0.5))
    optimizer = torch.optim.SGD([x], lr=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(1500):
        index = torch.randperm(6, generator=generator)[:3]
        optimizer.zero_grad()
        lagrangian((x[index] - target[index]).square().mean() / 2, x[index], index=index).backward()
        optimizer.step()
        lagrangian.step()
    torch.testing.assert_close(lagrangian.multipliers[0].value, target.clamp_min(0), rtol=0, atol=1e-6)


def test_averages_are_debiased():
    multiplier = Multiplier(Equality(lambda x: x, average=0.9))
    stream = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, values in enumerate(stream):
        average = multiplier.average(values, keep=True)
        weights = 0.9 ** torch.arange(k, -1, -1, dtype=torch.float64)
        torch.testing.assert_close(average, (weights[:, None] * stream[: k + 1]).sum(0) / weights.sum())
    with pytest.raises(ValueError, match="or average"):
        Equality(lambda x: x, average=0.5, items=3)


def test_an_average_steadies_the_dual():
    spread = []
    for weight in (None, 0.95):
        lagrangian = Lagrangian(Equality(lambda noise: noise, average=weight), controller=PI(1e-9, 1.0))
        generator, increments = torch.Generator().manual_seed(1), []
        for _ in range(300):
            noise = torch.randn(1, dtype=torch.float64, generator=generator).requires_grad_()
            lagrangian(noise.sum(), noise)
            lagrangian.step()
            increments.append(float(lagrangian.multipliers[0].value))
        spread.append(torch.tensor(increments[50:]).std())
    assert spread[1] < 0.4 * spread[0]


@pytest.mark.parametrize(("moved", "expected"), [("carry", 1.5), ("reset", 0.5), (0.5, 1.0)])
def test_multipliers_when_the_level_moves(moved, expected):
    x = nn.Parameter(tensor(2.0))
    lagrangian = Lagrangian(Inequality(lambda x: x, level=lambda k: 1.0 if k < 2 else 1.5, moved=moved), 1.0)
    lagrangian(x.sum(), x)
    lagrangian.step()
    torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(1.0))
    for size in (expected, expected + 0.5):  # the level has moved, and is then where it was
        lagrangian(x.sum(), x)
        lagrangian.step()
        torch.testing.assert_close(lagrangian.multipliers[0].value, tensor(size))


def test_a_set_that_moves_is_followed():
    v, cap = cp.Variable(3), cp.Parameter(name="cap")
    target = tensor(0.9, 0.5, -0.2)
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    moving = ScheduledSet([v >= 0, v <= cap], cap=lambda k: max(0.6 - 0.01 * k, 0.3))
    lagrangian = AugmentedLagrangian(InSet(x, moving), 2.0, relaxation=1.0)
    optimizer = torch.optim.SGD([x], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        lagrangian((x - target).square().sum() / 2).backward()
        optimizer.step()
        lagrangian.step()
    torch.testing.assert_close(x.detach(), tensor(0.3, 0.3, 0.0), rtol=0, atol=1e-8)
    lower, upper = lagrangian.duals()[0]
    torch.testing.assert_close(upper, tensor(0.6, 0.2, 0.0), rtol=0, atol=1e-7)
    torch.testing.assert_close(lower, tensor(0.0, 0.0, 0.2), rtol=0, atol=1e-7)


def test_limits():
    lagrangian = Lagrangian(
        [
            Inequality(lambda x: x, limit=0.7),
            Equality(lambda x: -x, limit=0.7),
            InSet(lambda x: x, [cp.Variable(2) <= 0], limit=1.0),
        ],
        1.0,
    )
    x = tensor(3.0, 4.0).requires_grad_()
    lagrangian(x.sum(), x)
    lagrangian.step()
    y, z, normal = (m.value for m in lagrangian.multipliers)
    torch.testing.assert_close(y, tensor(0.7, 0.7))
    torch.testing.assert_close(z, tensor(-0.7, -0.7))
    torch.testing.assert_close(normal, tensor(0.6, 0.8))


def test_cones_and_rows_of_a_batch():
    """Each row in its own second-order cone, with CVXPY's duals."""
    v = cp.Variable(3)
    constraints = [cp.SOC(0.5 * v[0] + 1, v[1:]), v[0] <= 2]
    target = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    x = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
    lagrangian = AugmentedLagrangian(InSet(x, constraints), 5.0, relaxation=1.0)
    optimizer = torch.optim.SGD([x], lr=1 / 6)
    for _ in range(200):
        optimizer.zero_grad()
        lagrangian((x - target).square().sum() / 2).backward()
        optimizer.step()
        lagrangian.step()
    assert lagrangian.kkt((x - target).square().sum() / 2, x).largest < 1e-6
    (head, tail), bound = lagrangian.duals()[0]
    for k in range(4):
        problem = cp.Problem(cp.Minimize(cp.sum_squares(v - target[k].numpy()) / 2), constraints)
        problem.solve(solver=cp.CLARABEL)
        assert (x[k] - torch.as_tensor(v.value)).abs().max() < 1e-5
        expected = constraints[0].dual_value
        assert abs(float(head[k]) - float(expected[0].item())) < 1e-3
        assert (tail[k] - torch.as_tensor(expected[1]).flatten()).abs().max() < 1e-3
        assert abs(float(bound[k]) - float(constraints[1].dual_value)) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_survive(dtype):
    def make(x):
        constraints = [
            Inequality(lambda x: x.sum(), average=0.8, level=lambda k: 1.0 - 0.01 * k),
            Equality(lambda x: x[:2]),
            InSet(lambda x: x, [cp.Variable(3) <= 0.1]),
        ]
        return AugmentedLagrangian(constraints, Adaptive(0.5)), Lagrangian(constraints, controller=PI(0.1, 0.2, 0.5))

    def train(x, modules, steps):
        for _ in range(steps):
            for module in modules:
                (gradient,) = torch.autograd.grad(module((x - 1).square().sum(), x), x)
                x = (x - 0.05 * gradient).detach().requires_grad_()
                module.step(*([x] if module.update == "alternating" else []))
        return x

    x = torch.ones(3, dtype=dtype, requires_grad=True)
    modules = make(x)
    middle = train(x, modules, 5)
    stored = io.BytesIO()
    torch.save([module.state_dict() for module in modules], stored)
    stored.seek(0)
    others = make(x)
    for other, state in zip(others, torch.load(stored, weights_only=True), strict=True):
        other.load_state_dict(state)
    copies = copy.deepcopy(modules)
    expected = train(middle, modules, 5)
    assert expected.dtype == dtype
    for again in (others, copies):
        torch.testing.assert_close(train(middle, again, 5), expected, rtol=0, atol=0)
    assert not list(modules[0].parameters())
    assert all(m.value.dtype == dtype for module in others for m in module.multipliers)


def test_errors_say_what_to_do():
    x = tensor(1.0).requires_grad_()
    with pytest.raises(ValueError, match="one of the two"):
        Lagrangian(Inequality(lambda x: x))
    with pytest.raises(ValueError, match="expected Inequality"):
        Lagrangian([lambda x: x], 0.1)
    with pytest.raises(ValueError, match="floating-point tensor, got int"):
        Lagrangian(Inequality(lambda x: 3), 0.1)(x.sum(), x)
    lagrangian = Lagrangian(Inequality(lambda x: x), 0.1)
    lagrangian(x.sum(), x)
    with pytest.raises(ValueError, match="multipliers of"):
        lagrangian(x.sum(), tensor(1.0, 2.0))
    with pytest.raises(ValueError, match='update="alternating"'):
        lagrangian.step(x)
    with pytest.raises(ValueError, match="integral gain"):
        PI(0.0)
    with pytest.raises(ValueError, match="limit"):
        Inequality(lambda x: x, limit=-math.inf)


def test_a_step_size_that_ends_at_zero_leaves_the_multipliers_as_they_are():
    x = nn.Parameter(tensor(0.5))
    lagrangian = Lagrangian(Inequality(lambda x: x), lambda step: max(0.0, 1.0 - step / 2))
    values = []
    for _ in range(5):
        lagrangian(x.sum(), x)
        lagrangian.step()
        values.append(float(lagrangian.multipliers[0].value))
    assert values == [0.25] * 5
