"""Penalties: values and gradients by formula and by finite differences, weights, barriers, states."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

from optlayers.training.priced.adaptive import Adaptive
from optlayers.training.priced.penalty import Penalty
from optlayers.training.priced.relations import Inequality
from optlayers.training.schedules.scheduled_set import ScheduledSet
from optlayers.training.schedules.schedules import geometric

GENERATOR = torch.Generator().manual_seed(0)


def points(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


def simplex(n):
    x = cp.Variable(n)
    return [x >= 0, cp.sum(x) == 1]


SETS = {
    "simplex": lambda: simplex(4),
    "cone": lambda: [cp.SOC(x[0], x[1:]) for x in [cp.Variable(4)]],
    "auxiliary": lambda: [cp.norm1(x) + cp.max(x) <= 1 for x in [cp.Variable(4)]],
}


@pytest.mark.parametrize("kind", ["quadratic", "exact"])
@pytest.mark.parametrize("measure", ["distance", "residual"])
@pytest.mark.parametrize("name", SETS)
def test_gradients_are_those_of_the_values(name, kind, measure):
    penalty = Penalty(SETS[name](), kind=kind, measure=measure, weight=1.7)
    assert torch.autograd.gradcheck(penalty, 3 * points(2, 4).requires_grad_(), atol=1e-4, rtol=1e-3)


def test_the_gradient_is_the_distance_vector():
    penalty = Penalty(simplex(5), weight=3.0)
    v = points(6, 5).requires_grad_()
    nearest = penalty.constraints[0].scheduled_set.at(0).project(v.detach())
    penalty(v).backward()
    torch.testing.assert_close(v.grad, 3.0 * (v.detach() - nearest))


@pytest.mark.parametrize("kind", ["quadratic", "exact"])
def test_values_of_functions(kind):
    penalty = Penalty(inequality=lambda x, y: x - y, equality=lambda x, y: x * y, kind=kind, weight=2.0)
    x, y = points(7), points(7)
    excess = torch.cat([(x - y).clamp_min(0), (x * y).abs()])
    expected = excess.square().sum() if kind == "quadratic" else 2 * excess.sum()
    torch.testing.assert_close(penalty(x, y), expected)
    mean = Penalty(inequality=lambda x, y: x - y, kind=kind, weight=2.0, reduction="mean")
    torch.testing.assert_close(mean(x, y), Penalty(inequality=lambda x, y: x - y, kind=kind, weight=2.0)(x, y) / 7)


@pytest.mark.parametrize("kind", ["quadratic", "exact"])
def test_feasible_points_are_free_with_zero_gradient(kind):
    v = torch.full((2, 4), 0.25, dtype=torch.float64, requires_grad=True)
    loss = Penalty(simplex(4), kind=kind)(v)
    loss.backward()
    assert loss.item() == 0
    assert bool((v.grad == 0).all())


@pytest.mark.parametrize("kind", ["quadratic", "exact"])
def test_prox_is_the_minimiser(kind):
    v, u = 2 * points(3), cp.Variable(3)
    penalty = Penalty([cp.norm(u) <= 0.5, u >= -0.1], kind=kind, weight=0.8)
    x, inside = cp.Variable(3), cp.Variable(3)
    distance = cp.norm(x - inside)
    term = distance if kind == "exact" else cp.sum_squares(x - inside) / 2
    constraints = [cp.norm(inside) <= 0.5, inside >= -0.1]
    cp.Problem(cp.Minimize(0.8 * term + cp.sum_squares(x - v.numpy()) / (2 * 0.3)), constraints).solve(cp.CLARABEL)
    moved = penalty.prox_(v.clone(), 0.3)
    assert np.abs(moved.numpy() - x.value).max() < 1e-5


def test_schedules_and_sets_that_move():
    x, cap = cp.Variable(2), cp.Parameter(name="cap")
    penalty = Penalty(
        ScheduledSet([x <= cap], cap=lambda k: 2.0 - k), kind="exact", weight=geometric(1.0, 2.0, every=2)
    )
    v = torch.tensor([2.0, 0.0], dtype=torch.float64)
    found = []
    for _ in range(4):
        found.append(float(penalty(v)))
        penalty.step()
    np.testing.assert_allclose(found, [0.0, 1.0, 2 * 2.0, 2 * np.hypot(3.0, 1.0)], atol=1e-12)
    other = Penalty(ScheduledSet([x <= cap], cap=lambda k: 2.0 - k), kind="exact", weight=geometric(1.0, 2.0, every=2))
    other.load_state_dict(penalty.state_dict())
    assert float(other(v)) == float(penalty(v)) > 0


def test_adaptive_weights_grow_where_the_violation_does_not_fall():
    penalty = Penalty(inequality=lambda x: x, weight=Adaptive(1.0, factor=3.0, decrease=0.5, limit=10.0))
    weights = []
    for violation in (1.0, 0.4, 0.3, 0.1, 0.09, 0.09, 0.0):
        penalty(torch.tensor(violation, requires_grad=True))
        penalty.step()
        weights.append(penalty.weight)
    assert weights == [1.0, 1.0, 3.0, 3.0, 9.0, 10.0, 10.0]
    other = Penalty(inequality=lambda x: x, weight=Adaptive(1.0, factor=3.0, decrease=0.5, limit=10.0))
    other.load_state_dict(penalty.state_dict())
    assert other.weight == 10.0


def test_barriers_of_cones_are_their_formulas():
    x = cp.Variable(3)
    v = torch.tensor([2.0, 0.5, -1.0], dtype=torch.float64, requires_grad=True)
    cone = Penalty([cp.SOC(x[0], x[1:]), x[1] <= 2], kind="log_barrier", weight=0.1)
    expected = -0.1 * ((v[0] ** 2 - v[1:].square().sum()).log() + (2 - v[1]).log())
    torch.testing.assert_close(cone(v), expected)
    assert torch.autograd.gradcheck(cone, v)
    X = cp.Variable((3, 3), symmetric=True)
    matrix = points(3, 3)
    matrix = matrix @ matrix.T + torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(Penalty([X >> 0], kind="log_barrier", weight=0.2)(matrix), -0.2 * torch.logdet(matrix))


def test_barriers_outside():
    g = Inequality(lambda x: x, level=1.0)
    v = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"strictly feasible point: 1 of 2 slacks .* -1"):
        Penalty(inequality=g, kind="log_barrier")(v)
    assert Penalty(inequality=g, kind="log_barrier", outside="inf")(v).isposinf()
    extended = Penalty(inequality=g, kind="log_barrier", outside="extend", weight=0.5)
    assert torch.autograd.gradcheck(extended, v)
    line = torch.linspace(-1, 3, 4001, dtype=torch.float64)
    values = torch.stack([extended(one) for one in line])
    assert bool((values.diff().diff() > -1e-12).all()), "convex across the seam"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    v = nn.Parameter(torch.ones(2, 3, dtype=dtype))
    loss = Penalty(simplex(3), inequality=lambda v: v)(v)
    loss.backward()
    assert v.grad is not None
    assert v.grad.dtype == dtype
    assert bool(v.grad.isfinite().all())


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="nothing to penalise"):
        Penalty()
    with pytest.raises(ValueError, match="has to fall"):
        Penalty(simplex(3), kind="log_barrier", weight=Adaptive())
    with pytest.raises(ValueError, match="weight > 0"):
        Penalty(simplex(3), weight=0.0)
    with pytest.raises(ValueError, match="auxiliary variables"):
        Penalty(SETS["auxiliary"](), kind="log_barrier")(points(4))
    with pytest.raises(ValueError, match="prox_ needs"):
        Penalty(inequality=lambda x: x).prox_(points(3), 0.1)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        Penalty(simplex(3))(points(2))
