"""Projected optimisation: CVXPY's optima with several optimizers, skipped steps, metrics, momentum, errors."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from optimizer_steps import OPTIMIZERS, simplex, step
from torch import nn

from optlayers import FeasibleSet, InfeasibleError
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.projected.project_after_step import project_after_step
from optlayers.training.schedules.scheduled_set import ScheduledSet


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_stay_in_their_set(name, dtype):
    weight, free = nn.Parameter(torch.randn(4, 5, dtype=dtype)), nn.Parameter(torch.randn(3, dtype=dtype))
    optimizer = OPTIMIZERS[name]([weight, free])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    own = simplex(5)
    handle = project_after_step(optimizer, {weight: own})
    assert own.contains(weight).all()
    for _ in range(5):
        step(optimizer, weight, torch.randn(4, 5, dtype=dtype))
        assert own.contains(weight.detach(), atol=1e-5).all()
        scheduler.step()
    assert handle.clock.steps == 5
    handle.remove()
    step(optimizer, weight, torch.randn(4, 5, dtype=dtype))
    assert not own.contains(weight.detach(), atol=1e-5).any()


@pytest.mark.parametrize("fused", [False, True])
def test_a_skipped_step_projects_nothing(fused):
    weight = nn.Parameter(torch.tensor([0.3, 0.7]))
    optimizer = torch.optim.Adam([weight], 0.1, fused=fused)
    handle = project_after_step(optimizer, {weight: simplex(2)})
    outside = torch.tensor([2.0, 3.0])
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor, skipped in ((float("inf"), True), (1.0, False)):
        weight.data.copy_(outside)
        optimizer.zero_grad()
        scaler.scale((factor * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(weight.detach(), outside) is skipped
        assert handle.clock.steps == (0 if skipped else 1)
    assert simplex(2).contains(weight.detach())


def test_parameter_groups_every_and_schedules():
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.0}])
    x, cap = cp.Variable(3), cp.Parameter(name="cap")
    moving = ScheduledSet([x <= cap], cap=lambda step: 1 - 0.1 * step)
    with project_after_step(optimizer, {a: moving, b: moving}, every=2) as handle:
        for count in range(1, 5):
            (-a.sum() - b.sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
            caps = 1 - 0.1 * count
            assert bool((a <= caps + 1e-6).all()) is (count % 2 == 0)
            assert bool((b <= caps + 1e-6).all()) is (count % 2 == 0)
        saved = handle.state_dict()
    resumed = project_after_step(optimizer, {a: moving}, project_now=False)
    resumed.load_state_dict(saved)
    a.data.fill_(1.0)
    resumed.project()
    torch.testing.assert_close(a.detach(), torch.full((3,), 0.6))


def test_callbacks_see_both_points():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], 1.0)
    own = simplex(2)
    handle = project_after_step(optimizer, {weight: own}, project_now=False)
    seen = []
    end = handle.on_project(lambda *arguments: seen.append(arguments))
    weight.grad = torch.tensor([-3.0, 0.0])
    optimizer.step()
    end()
    optimizer.step()
    ((parameter, before, after, used, at),) = seen
    assert parameter is weight
    assert used is own
    assert at == 1
    torch.testing.assert_close(before, torch.tensor([3.0, 0.0]))
    torch.testing.assert_close(after, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"metric": "optimizer"}, {"clear_momentum": True}])
def test_half_precision(dtype, options):
    weight = nn.Parameter(torch.randn(6, 4).to(dtype))
    optimizer = torch.optim.Adam([weight], 0.05, eps=1e-4)
    project_after_step(optimizer, {weight: simplex(4)}, **options)
    for _ in range(3):
        step(optimizer, weight, torch.randn(6, 4).to(dtype))
    assert weight.dtype == dtype
    assert simplex(4).contains(weight.detach().double(), atol=1e-2).all()


def test_large_weights_are_projected_in_chunks():
    own = simplex(1000)
    weight = torch.randn(1700, 1000)
    expected = own.project(weight)
    address = weight.data_ptr()
    project_in_place(own, weight)
    assert weight.data_ptr() == address
    assert torch.equal(weight, expected)
    strided = torch.randn(1000, 7).T
    expected = own.project(strided)
    project_in_place(own, strided)
    assert torch.equal(strided, expected)
    project_in_place(own, torch.empty(0, 1000))


def test_chunks_take_sets_with_values_per_row_and_say_what_is_wrong():
    x, total = cp.Variable(3), cp.Parameter(name="total")
    own = FeasibleSet([x >= 0, cp.sum(x) == total])
    totals = torch.arange(1.0, 6.0)
    weight = torch.randn(5, 3)
    project_in_place(own.bind(total=totals), weight)
    torch.testing.assert_close(weight.sum(-1), totals)
    with pytest.raises(InfeasibleError):
        project_in_place(own.bind(total=-1.0), torch.randn(5, 3))
    bad = torch.randn(900, 1000)
    bad[3, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        project_in_place(simplex(1000), bad)


@pytest.mark.parametrize("kind", ["simplex", "nonuniform", "section", "box_total"])
@pytest.mark.parametrize("n", [1000, 5000])
def test_kernels_in_place_leave_what_is_not_finite(kind, n):
    x, weights = cp.Variable(n), np.random.default_rng(0).uniform(0.5, 1.5, n)
    own = FeasibleSet(
        {
            "simplex": [x >= 0, cp.sum(x) == 1],
            "nonuniform": [x >= -weights / n, cp.sum(x) == 1],
            "section": [x >= 0, x <= 0.5, weights @ x == 1],
            "box_total": [x >= 0, x <= weights, weights @ x <= 1],
        }[kind]
    )
    weight = torch.randn(20, n) / n**0.5
    expected = own.project(weight)
    weight[3, 7], weight[11, n - 1] = torch.nan, -torch.inf
    finite = torch.ones(20, dtype=torch.bool)
    finite[3] = finite[11] = False
    before = weight.clone()
    with pytest.raises(ValueError, match="NaN or infinite"):
        project_in_place(own, weight)
    torch.testing.assert_close(weight[~finite], before[~finite], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(weight[finite], expected[finite], rtol=0, atol=1e-6)


def test_errors_say_what_to_do():
    weight, other = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    adam = torch.optim.Adam([weight])
    with pytest.raises(ValueError, match="very tensor"):
        project_after_step(adam, {other: simplex(3)})
    with pytest.raises(ValueError, match=r"shape \(3,\), the variable \(4,\)"):
        project_after_step(adam, {weight: simplex(4)})
    with pytest.raises(ValueError, match="every >= 1"):
        project_after_step(adam, {weight: simplex(3)}, every=0)
    with pytest.raises(ValueError, match="as keys"):
        project_after_step(adam, {"weight": simplex(3)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="diagonal metric"):
        project_after_step(torch.optim.LBFGS([weight]), {weight: simplex(3)}, metric="optimizer")
    with pytest.raises(ValueError, match="keeps no momentum"):
        project_after_step(torch.optim.Adagrad([weight]), {weight: simplex(3)}, clear_momentum=True)
    project_after_step(adam, {weight: simplex(3)})
    weight.grad = torch.full((3,), torch.nan)
    with pytest.raises(ValueError, match="NaN") as caught:
        adam.step()
    assert "parameter 0 of project_after_step" in caught.value.__notes__[0]
