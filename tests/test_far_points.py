"""Sections of boxes and L1 balls, far away and masked: every path gives the point that rational arithmetic gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from optlayers import NotSolvedError, ProjectionLayer, Status

N = 6
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.25])
SIGNED = np.array([1.0, -2.0, 0.5, 0.0, -1.0, 3.0])
CAPS = np.array([0.3125, 0.25, 0.5, 0.125, 0.875, 0.4375])
X = cp.Variable(N)
FREE = np.full(N, np.inf)
SECTIONS = {
    "simplex": (np.ones(N), np.zeros(N), FREE, 1.0, 1.0),
    "capped simplex": (np.ones(N), np.zeros(N), CAPS, 1.0, 1.0),
    "solid simplex": (np.ones(N), np.zeros(N), FREE, -np.inf, 1.0),
    "weighted simplex": (WEIGHTS, np.zeros(N), FREE, 1.5, 1.5),
    "knapsack": (WEIGHTS, np.zeros(N), CAPS, -np.inf, 0.75),
    "signed section": (SIGNED, -CAPS, CAPS, 0.25, 0.25),
    "capped half-space": (np.ones(N), -FREE, CAPS, -np.inf, -0.5),
}
PATHS: dict[str, Callable[[ProjectionLayer, Tensor], Tensor]] = {
    "plain": lambda layer, v: layer(v),
    "with gradients": lambda layer, v: layer(v.clone().requires_grad_()),
    "many rows": lambda layer, v: layer(v.repeat(2000, 1))[: len(v)],
    "many rows with gradients": lambda layer, v: layer(v.repeat(2000, 1).requires_grad_())[: len(v)],
}
SCALES = {torch.float32: (1e3, 1e7, 1e13, 1e20, 1e30), torch.float64: (1e7, 1e13, 1e30, 1e150, 1e300)}


def section(name: str) -> list[cp.Constraint]:
    normal, lower, upper, low, high = SECTIONS[name]
    product = cp.sum(X) if (normal == 1).all() else normal @ X
    bounds = [lower <= X] * bool(np.isfinite(lower[0])) + [upper >= X] * bool(np.isfinite(upper[0]))
    return bounds + ([product == high] if low == high else [product <= high])


def exact_section(v: Sequence[float], name: str) -> list[float]:
    """Project by a search among the breakpoints of the total, in rational numbers."""
    normal, lower, upper, low, high = SECTIONS[name]
    a, x = [Fraction(float(t)) for t in normal], [Fraction(t) for t in v]

    def point(tau: Fraction) -> list[Fraction]:
        return [
            Fraction(min(max(p - tau * b, lo), up))
            for p, b, lo, up in zip(x, a, lower.tolist(), upper.tolist(), strict=True)
        ]

    def total(tau: Fraction) -> Fraction:
        return sum((b * y for b, y in zip(a, point(tau), strict=True)), Fraction(0))

    goal = min(max(total(Fraction(0)), low), high)
    if goal == total(Fraction(0)):
        return list(map(float, point(Fraction(0))))
    times = sorted(
        {
            (p - Fraction(t)) / b
            for bound in (lower, upper)
            for p, b, t in zip(x, a, bound.tolist(), strict=True)
            if b and math.isfinite(t)
        }
    )
    times = [times[0] - 1, *times, times[-1] + 1]
    after = next((k for k, time in enumerate(times) if total(time) <= goal), len(times) - 1)
    left, right = times[max(after, 1) - 1], times[max(after, 1)]
    slope = (total(left) - total(right)) / (right - left)
    return list(map(float, point(right if slope == 0 else left + (total(left) - Fraction(goal)) / slope)))


def points(scale: float, dtype: torch.dtype) -> Tensor:
    base = torch.tensor(np.random.default_rng(3).standard_normal((8, N)))
    base[0], base[1], base[3] = 1.0, base[1].round(), -1.0
    return (base / base.abs().max() * scale).to(dtype)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["simplex", "capped simplex", "solid simplex", "capped half-space"])
@pytest.mark.parametrize("dtype", SCALES)
def test_far_points_have_their_exact_projection(dtype: torch.dtype, name: str, path: str) -> None:
    """With ones as the normal, differences of entries are exact, so that the whole projection is."""
    layer = ProjectionLayer(section(name))
    for scale in SCALES[dtype]:
        v = points(scale, dtype)
        y = PATHS[path](layer, v).detach().double()
        expected = torch.tensor([exact_section(row, name) for row in v.tolist()], dtype=torch.float64)
        close = 50 * torch.finfo(dtype).eps * (1 + expected.abs().amax(-1, keepdim=True))
        assert ((y - expected).abs() <= close).all(), scale


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["weighted simplex", "knapsack", "signed section"])
@pytest.mark.parametrize("dtype", SCALES)
def test_projections_of_far_points_keep_the_total(dtype: torch.dtype, name: str, path: str) -> None:
    layer, (normal, lower, upper, low, high) = ProjectionLayer(section(name)), SECTIONS[name]
    for scale in SCALES[dtype]:
        y = PATHS[path](layer, points(scale, dtype)).detach().double().numpy()
        product, rounding = y @ normal, 20 * torch.finfo(dtype).eps * (1 + np.abs(y) @ np.abs(normal))
        assert (y >= lower).all(), scale
        assert (y <= upper).all(), scale
        assert (product >= low - rounding).all(), scale
        assert (product <= high + rounding).all(), scale


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", SCALES)
def test_far_points_of_l1_balls(dtype: torch.dtype, path: str) -> None:
    layer = ProjectionLayer([cp.norm1(X) <= 1])
    for scale in SCALES[dtype]:
        v = points(scale, dtype)
        y = PATHS[path](layer, v).detach().double()
        sizes = [exact_section([abs(t) for t in row], "solid simplex") for row in v.tolist()]
        expected = torch.tensor(sizes, dtype=torch.float64) * v.double().sign()
        assert ((y - expected).abs() <= 50 * torch.finfo(dtype).eps).all(), scale


@pytest.mark.parametrize("copies", [1, 3000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["simplex", "capped simplex", "knapsack"])
def test_masked_entries_are_as_those_of_very_low_scores(name: str, dtype: torch.dtype, copies: int) -> None:
    layer, low = ProjectionLayer(section(name)), -torch.inf
    masked = torch.tensor([[1, low, 0.3, low, 0.2, 0.7], [0.5, 0.2, low, 1, 2, 3]], dtype=dtype).repeat(copies, 1)
    finite, masked = masked.clamp_min(-1e4).requires_grad_(), masked.requires_grad_()
    y, expected = layer(masked), layer(finite)
    torch.testing.assert_close(y, expected)
    weight = torch.linspace(-1, 1, N, dtype=dtype)
    (gradient,), (other,) = (torch.autograd.grad((t * weight).sum(), p) for t, p in ((y, masked), (expected, finite)))
    torch.testing.assert_close(gradient, other)
    assert (y[masked.isinf()] == 0).all()
    assert (gradient[masked.isinf()] == 0).all()


def test_masks_without_a_limit_are_refused() -> None:
    """Where all of a simplex's entries go to minus infinity, the limit depends on how they do."""
    layer = ProjectionLayer(section("simplex"))
    for row in ([-math.inf] * N, [math.inf] + [0.0] * 5, [math.nan] + [0.0] * 5):
        with pytest.raises(ValueError, match="row 1"):
            layer(torch.tensor([[0.0] * N, row]))
    inside = ProjectionLayer(section("knapsack"))(torch.full((1, N), -math.inf))
    assert (inside == 0).all()


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_at_the_end_of_the_range_are_feasible_or_unsolved(dtype: torch.dtype, name: str) -> None:
    layer, (normal, lower, upper, low, high) = ProjectionLayer(section(name), on_failure="nan"), SECTIONS[name]
    for v in (points(torch.finfo(dtype).max, dtype), torch.full((1, N), torch.finfo(dtype).min, dtype=dtype)):
        for path in PATHS.values():
            y = path(layer, v).detach().double().numpy()
            y = y[np.isfinite(y).all(-1)]
            with np.errstate(over="ignore"):
                product, rounding = y @ normal, 20 * torch.finfo(dtype).eps * (1 + np.abs(y) @ np.abs(normal))
            assert (y >= lower).all()
            assert (y <= upper).all()
            assert (product >= low - rounding).all()
            assert (product <= high + rounding).all()


def test_what_overflows_is_not_solved() -> None:
    far = torch.full((1, N), torch.finfo(torch.float32).max) * torch.tensor([1.0, -1.0] * 3)
    layer = ProjectionLayer([WEIGHTS @ X == 1.5, X >= 0])
    with pytest.raises(NotSolvedError, match="row 0"):
        layer(far)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_transport_plans_meet_their_totals_or_are_unsolved(dtype: torch.dtype) -> None:
    x = cp.Variable((3, 4))
    plans = ProjectionLayer([x >= 0, cp.sum(x, axis=0) == 3, cp.sum(x, axis=1) == 4], on_failure="nan")
    torch.manual_seed(0)
    v = torch.randn(3, 3, 4, dtype=dtype)
    for scale in (1e7, 1e13, 1e20, 1e30, *([1e150, 1e300] if dtype == torch.float64 else [])):
        solution = plans.solve(scale * v)
        solved = solution.status == Status.SOLVED
        value = solution.value
        assert isinstance(value, Tensor)
        assert ((value.sum(-2) - 3).abs()[solved] <= 1e-5).all()
        assert ((value.sum(-1) - 4).abs()[solved] <= 1e-5).all()
        assert (value[solved] >= 0).all()
        assert (solved | (solution.status == Status.UNSOLVED)).all()
        assert value[~solved].isnan().all()
