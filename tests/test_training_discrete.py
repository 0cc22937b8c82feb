"""Discrete layers against enumeration, and the Gumbel-softmax layer against its distribution."""

import copy
import itertools
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError, NotConvexError, ProjectionLayer
from optlayers.errors import NotSolvedError
from optlayers.training.discrete.discrete import DiscreteLayer
from optlayers.training.discrete.gumbel import GumbelSoftmax
from optlayers.training.schedules.schedules import geometric, linear


def _grid(*ranges):
    return torch.tensor(list(itertools.product(*ranges)), dtype=torch.float64)


def _distance(points, v):
    return (points - v).square().sum(-1)


def _check_nearest(layer, v, points):
    """The layer returns the points of least distance: `points` are all integer points of the set."""
    x = layer(v)
    assert torch.equal(x, x.round())
    flat, own = x.flatten(1).double(), v.flatten(1).double()
    best = _distance(points, own.unsqueeze(1)).amin(-1)
    assert (points == flat.unsqueeze(1)).all(-1).any(-1).all()
    torch.testing.assert_close(_distance(flat, own), best, rtol=1e-6, atol=1e-9)


def _no_programs(layer, monkeypatch):
    monkeypatch.setattr(layer.program, "solve", lambda *_: pytest.fail("a program was solved"))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("least", "most"), [(2, 2), (0, 3), (2, 4), (1.5, 3.5)])
def test_cardinality_is_nearest(monkeypatch, dtype, least, most) -> None:
    x = cp.Variable(5, boolean=True)
    layer = _no_programs(DiscreteLayer([cp.sum(x) >= least, cp.sum(x) <= most]), monkeypatch)
    points = _grid(*[[0, 1]] * 5)
    points = points[(points.sum(-1) >= least) & (points.sum(-1) <= most)]
    for scale in (0.3, 2, 100):
        v = torch.randn(40, 5, dtype=dtype) * scale + 0.3
        _check_nearest(layer, v, points)
        assert layer(v).dtype == dtype
    _check_nearest(layer, torch.tensor([[0.5] * 5, [0.0] * 5, [1, 1, 1, 0, 0]], dtype=dtype), points)


def test_integer_total_is_nearest(monkeypatch) -> None:
    x = cp.Variable(4, integer=True)
    layer = _no_programs(DiscreteLayer([x >= -0.5, x <= 3.5, cp.sum(x) == 5]), monkeypatch)
    points = _grid(*[range(4)] * 4)
    for scale in (0.5, 3, 30):
        _check_nearest(layer, torch.randn(60, 4, dtype=torch.float64) * scale, points[points.sum(-1) == 5])


def test_box_is_nearest(monkeypatch) -> None:
    x = cp.Variable(3, integer=True, bounds=[-1.5, 2.2])
    layer = _no_programs(DiscreteLayer([], x), monkeypatch)
    _check_nearest(layer, 4 * torch.randn(50, 3), _grid(*[range(-1, 3)] * 3))


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (3, 2)])
def test_assignment_is_nearest(monkeypatch, shape) -> None:
    x = cp.Variable(shape, boolean=True)
    rows, columns = cp.sum(x, axis=1), cp.sum(x, axis=0)
    wide, tall = shape[0] < shape[1], shape[0] > shape[1]
    layer = DiscreteLayer([rows <= 1 if tall else rows == 1, columns <= 1 if wide else columns == 1])
    points = _grid(*[[0, 1]] * x.size)
    plans = points.unflatten(-1, shape)
    ok = (plans.sum(-1) <= 1).all(-1) & (plans.sum(-2) <= 1).all(-1) & (plans.sum((-2, -1)) == min(shape))
    _check_nearest(_no_programs(layer, monkeypatch), 2 * torch.randn(50, *shape), points[ok])


def test_one_choice_a_row_is_the_largest_entry() -> None:
    x = cp.Variable((3, 4), boolean=True)
    v = torch.randn(7, 3, 4)
    chosen = DiscreteLayer([cp.sum(x, axis=1) == 1])(v)
    assert torch.equal(chosen, torch.nn.functional.one_hot(v.argmax(-1), 4).float())


def test_knapsack_with_equality_where_rounding_fails() -> None:
    x = cp.Variable(4, integer=True, nonneg=True)
    weights = np.array([3.0, 5, 7, 11])
    layer = DiscreteLayer([weights @ x == 41])
    v = 3 * torch.randn(12, 4, dtype=torch.float64)
    y = FeasibleSet(layer.relaxed_set.constraints).project(v)
    assert ((y.round() @ torch.as_tensor(weights) - 41).abs() > 0.5).sum() > 6  # rounding fails
    points = _grid(range(14), range(9), range(6), range(4))
    points = points[points @ torch.as_tensor(weights) == 41]
    found = layer(v)
    assert (points == found.unsqueeze(1)).all(-1).any(-1).all()
    rounded = (y.round() @ torch.as_tensor(weights) == 41) | (v.round() == found).all(-1)
    best = (points - y.unsqueeze(1)).abs().sum(-1).amin(-1)
    torch.testing.assert_close((found - y).abs().sum(-1)[~rounded], best[~rounded], rtol=1e-6, atol=1e-6)


def test_boolean_programs_are_nearest() -> None:
    x = cp.Variable(6, boolean=True)
    weights = np.array([3.0, 5, 7, 2, 4, 6])
    layer = DiscreteLayer([weights @ x == 12, x[0] + x[2] <= 1], nearest=True)
    points = _grid(*[[0, 1]] * 6)
    keep = (points @ torch.as_tensor(weights) == 12) & (points[:, 0] + points[:, 2] <= 1)
    _check_nearest(layer, torch.randn(12, 6), points[keep])


def test_rounded_projections_are_kept_unless_nearest() -> None:
    """Feasible everywhere, at most as near as with `nearest`, and farther somewhere."""
    x = cp.Variable(5, boolean=True)
    weights = np.array([3.0, 5, 7, 2, 4])
    v = 2 * torch.randn(30, 5)
    quick, best = (DiscreteLayer([weights @ x <= 9], nearest=nearest)(v) for nearest in (False, True))
    assert (quick @ torch.as_tensor(weights).float() <= 9).all()
    gap = _distance(quick, v) - _distance(best, v)
    assert gap.min() >= -1e-5
    assert gap.max() > 0.1


def test_gradient_is_that_of_the_relaxed_projection() -> None:
    x, k = cp.Variable((2, 5), boolean=True), cp.Parameter(2, name="k")
    layer = DiscreteLayer([cp.sum(x, axis=1) == k])
    y = cp.Variable((2, 5), bounds=[0, 1])
    reference = ProjectionLayer([cp.sum(y, axis=1) == k])
    v, weight = torch.randn(4, 2, 5, dtype=torch.float64), torch.randn(4, 2, 5, dtype=torch.float64)
    grads = []
    for own in (layer, reference):
        inputs = v.clone().requires_grad_(), torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
        grads.append(torch.autograd.grad((own(*inputs) * weight).sum(), inputs))
    for mine, theirs in zip(*grads, strict=True):
        assert theirs.abs().sum() > 0
        torch.testing.assert_close(mine, theirs)


def test_parameters_by_name_and_position_batched_with_programs() -> None:
    x = cp.Variable(4, integer=True, nonneg=True, name="x")
    budget, cost = cp.Parameter(name="budget"), cp.Parameter(4, name="cost", nonneg=True)
    layer = DiscreteLayer([cost @ x == budget], parameters=[budget, cost])
    budgets, costs = torch.tensor([[11.0], [17.0]]), torch.tensor([[2.0, 3, 5, 7], [3, 4, 5, 1], [1, 2, 3, 4]])
    v = 2 * torch.rand(2, 3, 4)
    found = layer(v, budgets, costs)
    assert found.shape == (2, 3, 4)
    assert torch.equal(found, found.round())
    assert (found >= 0).all()
    torch.testing.assert_close((found * costs).sum(-1), budgets.expand(2, 3))
    torch.testing.assert_close(layer(v, cost=costs, budget=budgets), found)
    assert budget.value is None
    assert cost.value is None


def test_mixed_entries_and_two_variables() -> None:
    """Some entries boolean, some integer, some continuous; each variable its own point."""
    switch = cp.Variable(3, boolean=[(0, 1)], name="switch")
    flow = cp.Variable(2, integer=True, name="flow")
    layer = DiscreteLayer([flow <= 4 * switch[:2], flow >= 0, cp.sum(flow) + switch[2] == 5.5], [switch, flow])
    v, w = torch.randn(8, 3, dtype=torch.float64), 3 * torch.randn(8, 2, dtype=torch.float64)
    on, amount = layer(v, w)
    assert torch.isin(on[:, :2], torch.tensor([0.0, 1.0], dtype=torch.float64)).all()
    assert torch.equal(amount, amount.round())
    assert (amount <= 4 * on[:, :2]).all()
    torch.testing.assert_close(amount.sum(-1) + on[:, 2], torch.full((8,), 5.5, dtype=torch.float64))


def test_discrete_auxiliary_variable() -> None:
    """x is even, which only the auxiliary variable says."""
    x, half = cp.Variable(2, integer=True), cp.Variable(2, integer=True)
    layer = DiscreteLayer([x == 2 * half, x >= 0, x <= 9], x)
    found = layer(torch.tensor([[2.8, 5.4], [-3.0, 20.0]]))
    torch.testing.assert_close(found[1], torch.tensor([0.0, 8.0]))
    assert (found % 2 == 0).all()
    assert (found[0] - torch.tensor([2.8, 5.4])).abs().max() < 1.0


def test_no_integer_point_names_the_samples() -> None:
    x, total = cp.Variable(1, integer=True, name="x"), cp.Parameter(1, name="total")
    with pytest.raises(InfeasibleError, match=r"No integer point .* the point"):
        DiscreteLayer([2 * x == 1])(torch.zeros(1))
    layer = DiscreteLayer([2 * x == total])
    with pytest.raises(InfeasibleError, match=r"1 of 3 samples \(row 1\)") as caught:
        layer(torch.zeros(3, 1), torch.tensor([[2.0], [3.0], [4.0]]))
    assert caught.value.rows == (1,)
    y = cp.Variable(3, boolean=True)
    with pytest.raises(InfeasibleError, match="empty"):
        DiscreteLayer([cp.sum(y) == 4])
    with pytest.raises(InfeasibleError, match="No integer point"):
        DiscreteLayer([cp.sum(y) == 1.5])(torch.zeros(3))


def test_errors() -> None:
    x = cp.Variable(3, name="x")
    with pytest.raises(ValueError, match="use ProjectionLayer"):
        DiscreteLayer([x >= 0])
    with pytest.raises(NotConvexError, match="boolean"):
        FeasibleSet([cp.sum(cp.Variable(3, boolean=True)) == 1])
    entry = cp.Variable((2, 2), integer=[(0,), (1,), (1,)])
    with pytest.raises(ValueError, match="each of the 2 dimensions"):
        DiscreteLayer([entry >= 0])
    z = cp.Variable(2, integer=True)
    with pytest.raises(ValueError, match="tolerance"):
        DiscreteLayer([z >= 0], tolerance=1.0)
    layer = DiscreteLayer([cp.norm(z - 0.5) <= 0.6])  # which no integer point satisfies, and HiGHS cannot say
    with pytest.raises(NotSolvedError, match="linear constraints only"):
        layer(torch.zeros(2))


def test_convex_constraints_where_rounding_is_feasible() -> None:
    z = cp.Variable(2, integer=True)
    found = DiscreteLayer([cp.norm(z) <= 2])(torch.tensor([[5.0, 0.1], [1.2, -0.8]]))
    assert torch.equal(found, torch.tensor([[2.0, 0.0], [1.0, -1.0]]))


def test_layer_copies_prints_and_trains() -> None:
    x = cp.Variable(4, boolean=True, name="x")
    layer = copy.deepcopy(DiscreteLayer([cp.sum(x) == 2]))
    assert "x (4,)" in repr(layer)
    scores = torch.zeros(4, requires_grad=True)
    target = torch.tensor([0.0, 1.0, 0.0, 1.0])
    for _ in range(20):
        (grad,) = torch.autograd.grad((layer(scores) - target).square().sum(), scores)
        scores = (scores - 0.1 * grad).detach().requires_grad_()
    assert torch.equal(layer(scores), target)


def test_gumbel_temperatures() -> None:
    choose = GumbelSoftmax(geometric(2.0, 0.5, limit=0.1))
    seen = []
    for _ in range(6):
        seen.append(choose.temperature)
        choose.step()
    assert seen == [2.0, 1.0, 0.5, 0.25, 0.125, 0.1]
    other = GumbelSoftmax(geometric(2.0, 0.5, limit=0.1))
    other.load_state_dict(choose.state_dict())
    assert other.temperature == 0.1
    assert pickle.loads(pickle.dumps(GumbelSoftmax(0.7))).temperature == 0.7
    for bad in (0.0, -1.0, float("inf"), linear(0.0, 1.0, 3)):
        with pytest.raises(ValueError, match=r"temperature.* > 0"):
            GumbelSoftmax(bad)


def test_gumbel_samples_sharpen_and_keep_their_distribution() -> None:
    logits = torch.randn(3, dtype=torch.float64)
    many = logits.expand(20000, 3)
    entropies = []
    for temperature in (5.0, 1.0, 0.05):
        y = GumbelSoftmax(temperature)(many)
        torch.testing.assert_close(y.sum(-1), torch.ones(20000, dtype=torch.float64))
        counts = torch.bincount(y.argmax(-1), minlength=3) / 20000
        assert (counts - logits.softmax(-1)).abs().max() < 0.02
        entropies.append(float(torch.special.entr(y).sum(-1).mean()))
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[0] > 0.9
    assert entropies[-1] < 0.05


def test_gumbel_hard_and_eval() -> None:
    logits = torch.randn(5, 4, 6, requires_grad=True)
    hard = GumbelSoftmax(0.5, hard=True, dim=1)
    y = hard(logits)
    assert torch.equal(y.detach().amax(1), torch.ones(5, 6))
    (grad,) = torch.autograd.grad((y * torch.randn(5, 4, 6)).sum(), logits)
    assert grad.abs().sum() > 0
    chosen = hard.eval()(logits)
    assert torch.equal(chosen.movedim(1, -1), torch.nn.functional.one_hot(logits.argmax(1), 4).float())
