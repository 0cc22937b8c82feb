"""Smooth maps onto sets: inside, onto, invertible, with derivatives."""

import pytest
import torch
from smooth_sets import BIJECTIVE, SETS, raw, smooth
from torch import Tensor


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
