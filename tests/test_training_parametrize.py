"""Tensors held to sets by parametrizations: maps stay inside, invert, differentiate, and serve torch's machinery."""

import copy

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations

from optlayers import FeasibleSet
from optlayers.oracles.smooth_maps import _REGISTRY, SmoothMap, register_smooth_map
from optlayers.sets.l1_ball import L1Ball
from optlayers.training.reparametrized.parametrize import parametrize
from optlayers.training.reparametrized.smooth_set import SmoothSet
from optlayers.training.schedules.scheduled_set import ScheduledSet
from optlayers.training.schedules.schedules import linear

x, X = cp.Variable(5), cp.Variable((3, 3), symmetric=True)
RISES = np.array([0.1, -0.2, 0.0, 0.3])
Q = np.array([[2.0, 0.3, 0, 0, 0], [0, 1, 0.2, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 3, 1], [0, 0, 0, 0, 1]])
SETS = {
    "free": [x[:2] >= 0, x[:2] >= -1],
    "nonnegative": [x >= 0],
    "nonpositive": [x <= 0.5],
    "box": [x >= np.arange(5), x <= 10 + np.arange(5)],
    "mixed box": [x[0] >= 1, x[1] <= 2, x[2] >= 0, x[2] <= 1, x[3] == 4],
    "simplex": [x >= 0, cp.sum(x) == 2],
    "floor": [x >= 0.1, cp.sum(x) == 1],
    "weighted simplex": [x >= -1, np.array([1.0, 2, 3, 4, 5]) @ x == 3],
    "mirrored simplex": [x[:2] >= 0, x[2:] <= 1, np.array([1.0, 2, -3, -4, -5]) @ x == 3],
    "capped simplex": [x >= 0, x <= 0.3, cp.sum(x) == 1],
    "weighted capped": [x >= -1, x <= np.arange(1, 6), np.array([1.0, -2, 0.5, 3, -1]) @ x == 2],
    "knapsack": [x >= 0, cp.sum(x) <= 2],
    "cover": [x >= 0, np.arange(1, 6) @ x >= 2],
    "slab of simplexes": [x >= 0, cp.sum(x) >= 1, cp.sum(x) <= 3],
    "isotonic": [cp.diff(x) >= 0],
    "least rises": [cp.diff(x) >= RISES, x[0] >= -1],
    "rising below": [cp.diff(x) >= 0, x <= 2],
    "falling": [cp.diff(x) <= 0, x >= 0, x <= 1],
    "falling above": [cp.diff(x) <= -RISES, x[4] >= 1],
    "permuted": [cp.diff(x[[3, 1, 0, 2, 4]]) >= 0, x >= -1, x <= 1],
    "ball": [cp.norm(x - 1) <= 2],
    "ellipsoid": [cp.norm(Q @ (x - 1)) <= 2],
    "half-space": [np.arange(1, 6) @ x <= 1],
    "hyperplane": [cp.sum(x) == 1],
    "affine": [x[0] + x[1] == 1, x[1] + 2 * x[2] == 2],
    "tied": [x[0] == x[1], cp.sum(x[1:]) == 1, x >= 0],
    "product": [x[:2] >= 0, cp.sum(x[:2]) == 1, cp.norm(x[2:4]) <= 1, x[4] <= 3],
    "semidefinite": [X >> 0],
    "above": [X >> np.diag([1.0, 2, 3])],
    "below": [X << 2 * np.eye(3)],
    "eigenvalues": [X >> -np.eye(3), X << 2 * np.eye(3)],
    "spectraplex": [X >> 0, cp.trace(X) == 2],
    "trace": [X >> 0, cp.trace(X) <= 2],
}
BIJECTIVE = {
    "free", "nonnegative", "nonpositive", "box", "knapsack", "cover", "slab of simplexes", "isotonic", "least rises",
    "rising below", "falling", "falling above", "permuted", "ball", "ellipsoid", "half-space",
}  # fmt: skip


def smooth(name: str) -> SmoothSet:
    return SmoothSet.of(FeasibleSet(SETS[name]))


def raw(name: str, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*batch, *smooth(name).feasible_set.variables[0].shape, dtype=dtype)


@pytest.mark.parametrize("name", SETS)
def test_a_smooth_map_stays_inside_and_inverts(name: str) -> None:
    own = smooth(name)
    for scale in (0.1, 1.0, 4.0):
        y = own.forward(scale * raw(name, 7))
        assert own.feasible_set.violation(y).max() < 1e-12 * max(1.0, y.abs().max().item()) * 10
        torch.testing.assert_close(own.forward(own.inverse(y, 1e-12)), y, atol=1e-9, rtol=1e-9)
        if scale <= 1:
            torch.testing.assert_close(own.forward(own.inverse(y)), y, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_points_on_the_boundary_are_pulled_inside_a_little(name: str) -> None:
    own = smooth(name)
    y = own.feasible_set.project(10 * raw(name, 20))
    near = own.forward(own.inverse(y))
    assert near.isfinite().all()
    assert (near - y).norm(dim=-1).max() < 3e-5 * max(1.0, y.abs().max().item())
    assert own.feasible_set.violation(near).max() < 1e-11 * max(1.0, y.abs().max().item())


@pytest.mark.parametrize("name", SETS)
def test_every_interior_point_is_reached_by_gradient_steps(name: str) -> None:
    """The map is onto: the free parameters of an interior target are critical for no other reason than reaching it."""
    own = smooth(name)
    target = own.forward(raw(name) / 2).detach()
    free = (raw(name) / 2).requires_grad_()
    optimizer = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = ((own.forward(free) - target) / target.abs().max()).square().sum()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    assert (own.forward(free) - target).abs().max() < 1e-4 * max(1.0, target.abs().max().item())


@pytest.mark.parametrize("name", SETS)
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    own = smooth(name)
    point = raw(name, 2).requires_grad_()
    assert torch.autograd.gradcheck(own.forward, point, atol=1e-5)
    assert torch.autograd.gradgradcheck(own.forward, point, atol=1e-4)
    assert torch.autograd.gradcheck(own.forward, torch.zeros_like(point).requires_grad_())


@pytest.mark.parametrize("name", SETS)
def test_bijective_maps_say_so_and_know_their_volume(name: str) -> None:
    own = smooth(name)
    assert own.is_bijective is (name in BIJECTIVE)
    if own.is_bijective:
        point = raw(name, 3)
        jacobian = torch.stack([torch.autograd.functional.jacobian(own.forward, p) for p in point])
        torch.testing.assert_close(own.log_abs_det(point), torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SETS)
def test_single_and_half_precision(name: str, dtype: torch.dtype) -> None:
    own = smooth(name)
    point = raw(name, 4, dtype=torch.float32).to(dtype)
    y = own.forward(point)
    assert y.dtype == dtype
    reference = own.forward(point.double())
    scale = max(1.0, reference.abs().max().item())
    assert (y.double() - reference).abs().max() < 20 * torch.finfo(dtype).eps * scale
    back = own.forward(own.inverse(y)).double()
    assert (back - reference).abs().max() < max(1e-5, 40 * torch.finfo(dtype).eps) * scale


def test_known_maps() -> None:
    point = raw("simplex")
    torch.testing.assert_close(smooth("simplex").forward(point), 2 * torch.softmax(point, -1))
    torch.testing.assert_close(smooth("floor").forward(point), 0.1 + 0.5 * torch.softmax(point, -1))
    torch.testing.assert_close(smooth("nonnegative").forward(point), torch.nn.functional.softplus(point))
    torch.testing.assert_close(smooth("knapsack").forward(point), 2 * point.exp() / (1 + point.exp().sum()))
    ball = 1 + 2 * torch.tanh(point.norm()) * point / point.norm()
    torch.testing.assert_close(smooth("ball").forward(point), ball)
    steps = torch.cat([point[:1], torch.nn.functional.softplus(point[1:])])
    torch.testing.assert_close(smooth("isotonic").forward(point), steps.cumsum(0))
    capped = smooth("capped simplex").forward(point)
    shift = torch.logit(capped / 0.3) - point
    torch.testing.assert_close(shift, shift[:1].expand(5))


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
            return self.own.radius.unsqueeze(-1) * raw / (1 + (1 + raw.square()).sqrt().sum(-1, keepdim=True))

        def inverse(self, y: Tensor, margin: float) -> Tensor:
            raise NotImplementedError

    try:
        register_smooth_map(L1Ball)(TwoSoftmaxes)
        own = SmoothSet.of(FeasibleSet([cp.norm1(x) <= 2]))
        y = own.forward(torch.randn(50, 5) * 10)
        assert own.feasible_set.contains(y).all()
        assert own.kinds == (TwoSoftmaxes,)
    finally:
        _REGISTRY.pop(L1Ball)


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
