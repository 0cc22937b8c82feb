"""Options of the layer's gradient, by formulas: straight-through, and a pull toward the set."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from optlayers import FeasibleSet, ProjectionLayer

x = cp.Variable(4)
SIMPLEX = [x >= 0, cp.sum(x) == 1]


def gradient(layer: ProjectionLayer, v: Tensor, upstream: Tensor) -> Tensor:
    leaf = v.clone().requires_grad_()
    (layer(leaf) * upstream).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.fixture
def v() -> Tensor:
    return 3 * torch.randn(6, 4, dtype=torch.float64)


def test_no_option_changes_the_value(v: Tensor) -> None:
    expected = ProjectionLayer(SIMPLEX)(v)
    for options in ({"gradient": "straight_through"}, {"pull": 0.3}, {"gradient": "straight_through", "pull": 0.3}):
        layer = ProjectionLayer(SIMPLEX, **options)
        assert torch.equal(layer(v.clone().requires_grad_()), expected)
        assert torch.equal(layer(v), expected)
        assert all(f"{name}={value}" in repr(layer) for name, value in options.items())


def test_gradients_by_formula(v: Tensor) -> None:
    upstream = torch.randn_like(v)
    y = ProjectionLayer(SIMPLEX)(v)
    support = (y > 0).double()
    exact = support * (upstream - (support * upstream).sum(-1, keepdim=True) / support.sum(-1, keepdim=True))
    through = {"gradient": "straight_through"}
    torch.testing.assert_close(gradient(ProjectionLayer(SIMPLEX), v, upstream), exact)
    torch.testing.assert_close(gradient(ProjectionLayer(SIMPLEX, **through), v, upstream), upstream)
    pulled = gradient(ProjectionLayer(SIMPLEX, pull=0.3), v, upstream)
    torch.testing.assert_close(pulled, exact + 0.3 * (v - y))
    both = gradient(ProjectionLayer(SIMPLEX, pull=0.3, **through), v, upstream)
    torch.testing.assert_close(both, upstream + 0.3 * (v - y))


def test_the_pull_is_the_gradient_of_the_distance(v: Tensor) -> None:
    layer = ProjectionLayer(SIMPLEX)
    leaf = v.clone().requires_grad_()
    distance = layer.distance(leaf)
    y = layer(v)
    torch.testing.assert_close(distance, (v - y).square().sum(-1) / 2)
    distance.sum().backward()
    torch.testing.assert_close(leaf.grad, v - y)
    assert torch.autograd.gradcheck(layer.distance, leaf)


def test_straight_through_with_unit_pull_is_projected_gradient(v: Tensor) -> None:
    """A step of length t with pull 1 / t moves to ``P(v) - t g``."""
    layer, upstream = ProjectionLayer(SIMPLEX, gradient="straight_through", pull=4.0), torch.randn_like(v)
    torch.testing.assert_close(v - 0.25 * gradient(layer, v, upstream), layer(v) - 0.25 * upstream)


@pytest.mark.parametrize("options", [{"gradient": "straight_through"}, {"pull": 0.5}])
def test_parameters_keep_the_exact_gradient(v: Tensor, options: dict) -> None:
    total = cp.Parameter(name="total")
    constraints = [x >= 0, cp.sum(x) == total]
    upstream, grads = torch.randn_like(v), []
    for layer in (ProjectionLayer(constraints), ProjectionLayer(constraints, **options)):
        amount = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        (layer(v.clone().requires_grad_(), total=amount) * upstream).sum().backward()
        grads.append(amount.grad)
    torch.testing.assert_close(*grads)


def test_points_that_are_shared_by_a_batch_of_parameters_sum_their_pulls() -> None:
    cap = cp.Parameter(name="cap")
    layer = ProjectionLayer([x <= cap], pull=2.0)
    point = torch.tensor([3.0, 1.0, 0.0, -1.0], requires_grad=True)
    caps = torch.tensor([0.0, 2.0])
    layer(point, caps).sum().backward()
    excess = (point.detach() - caps[:, None]).clamp_min(0)
    inside = (point.detach() < caps[:, None]).float()
    torch.testing.assert_close(point.grad, (inside + 2 * excess).sum(0))
    torch.testing.assert_close(layer.distance(point, caps), excess.square().sum(-1) / 2)


def test_several_variables_and_scalars() -> None:
    s, z = cp.Variable(), cp.Variable(2)
    layer = ProjectionLayer([s <= 1, z >= 0], variables=[s, z], pull=1.0)
    points = [
        torch.tensor([3.0, 0.0], requires_grad=True),
        torch.tensor([[-1.0, 2.0], [1.0, -3.0]], requires_grad=True),
    ]
    results = layer(*points)
    sum(y.sum() for y in results).backward()
    torch.testing.assert_close(points[0].grad, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(points[1].grad, torch.tensor([[-1.0, 1.0], [1.0, -3.0]]))
    torch.testing.assert_close(layer.distance(*points).detach(), torch.tensor([2.5, 4.5]))


# torch.compile itself makes such a context for each custom function.
@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("options", [{"gradient": "straight_through"}, {"pull": 0.5}])
@pytest.mark.parametrize(
    "constraints",
    [SIMPLEX, [cp.norm(x) <= 1], [x >= 0, cp.sum(x) == 1, np.arange(4) @ x <= 1]],
    ids=["simplex", "ball", "polyhedron"],
)
def test_transforms_and_compile(v: Tensor, constraints: list, options: dict) -> None:
    layer = ProjectionLayer(FeasibleSet(constraints), **options)
    upstream = torch.randn_like(v)
    expected = gradient(layer, v, upstream)

    def loss(point: Tensor, weight: Tensor) -> Tensor:
        return (layer(point) * weight).sum()

    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(v, upstream), expected)
    torch.testing.assert_close(torch.func.grad(lambda p: loss(p, upstream))(v), expected)
    _, tangent = torch.func.jvp(layer, (v,), (upstream,))
    exact = torch.func.jvp(ProjectionLayer(FeasibleSet(constraints)), (v,), (upstream,))[1]
    torch.testing.assert_close(tangent, upstream if "gradient" in options else exact)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    leaf = v.clone().requires_grad_()
    (compiled(leaf) * upstream).sum().backward()
    torch.testing.assert_close(leaf.grad, expected)


def test_the_pull_has_no_second_derivatives_and_the_distance_has() -> None:
    layer = ProjectionLayer([x >= 0], pull=0.5)
    point = torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(layer(point).square().sum(), point, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
    exact = ProjectionLayer([x >= 0])
    loss = exact(point).square().sum() + 0.5 * exact.distance(point)
    (first,) = torch.autograd.grad(loss, point, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), point)
    torch.testing.assert_close(second, torch.tensor([2.0, 0.5, 2.0, 0.5], dtype=torch.float64))


def test_errors() -> None:
    with pytest.raises(ValueError, match="gradient: expected one of 'exact', 'straight_through', got 'ste'"):
        ProjectionLayer(SIMPLEX, gradient="ste")  # type: ignore[arg-type]
    for pull in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="pull: expected a finite number that is not negative"):
            ProjectionLayer(SIMPLEX, pull=pull)
