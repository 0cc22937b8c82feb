"""Scalar equations solved again, slowly: bisection in extended precision, to 1e-9 of the data and better."""

import numpy as np
import pytest
import torch

from optlayers.parametric.range import Range
from optlayers.sets.box_section import BoxSection
from optlayers.sets.ellipsoid import Ellipsoid

LONG = np.longdouble


def bisect(function, low, high):
    """Return the root of a decreasing function."""
    while function(low) < 0:
        low *= 2
    while function(high) > 0:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def section_by_bisection(v, normal, lower, upper, total):
    v, normal, lower, upper = (np.asarray(x, dtype=LONG) for x in (v, normal, lower, upper))

    def point(tau):
        return np.clip(v - tau * normal, lower, upper)

    return point(bisect(lambda tau: normal @ point(tau) - LONG(total), LONG(-1), LONG(1)))


def ellipsoid_by_bisection(v, weights, radius):
    v, weights = np.asarray(v, dtype=LONG), np.asarray(weights, dtype=LONG)

    def point(t):
        return v / (1 + t * weights)

    def excess(t):
        return np.sum(weights * point(t) ** 2) - LONG(radius) ** 2

    return v if excess(LONG(0)) <= 0 else point(bisect(excess, LONG(0), LONG(1)))


@pytest.mark.parametrize("seed", range(300))
def test_box_section(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    scale = 10.0 ** rng.uniform(-6, 6)
    normal = np.ones(n) if seed % 2 else rng.normal(size=n) * 10.0 ** rng.uniform(-1, 1, size=n)
    lower = np.where(rng.random(n) < 0.2, -np.inf, scale * rng.normal(size=n))
    start = np.where(np.isinf(lower), scale * rng.normal(size=n), lower)
    upper = np.where(rng.random(n) < 0.2, np.inf, start + scale * rng.exponential(size=n))
    inside = np.where(
        np.isinf(upper), start + scale, start + rng.random(n) * np.where(np.isinf(upper), 1, upper - start)
    )
    v = inside + scale * rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2)
    total = normal @ inside
    data = [torch.tensor(x) for x in (normal, lower, upper, np.asarray(total))]
    y = BoxSection(*data[:3], Range.fixed(data[3])).project(torch.tensor(v)).numpy()
    expected = section_by_bisection(v, normal, lower, upper, total)
    assert np.abs(y - expected).max() <= 1e-11 * max(np.abs(v).max(), np.abs(inside).max())


@pytest.mark.parametrize("seed", range(200))
def test_ellipsoid(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 20))
    weights = 10.0 ** rng.uniform(-12, 0, size=n) * (rng.random(n) < 0.9)
    weights[rng.integers(n)] = 1.0
    radius, scale = 10.0 ** rng.uniform(-6, 3), 10.0 ** rng.uniform(-3, 6)
    v = scale * rng.normal(size=n)
    zero = torch.zeros(n, dtype=torch.float64)
    y = Ellipsoid(torch.tensor(weights), None, zero, torch.tensor(radius, dtype=torch.float64)).project(torch.tensor(v))
    assert np.abs(y.numpy() - ellipsoid_by_bisection(v, weights, radius)).max() <= 1e-12 * np.abs(v).max()


def test_a_vertex_takes_the_derivative_of_one_side():
    caps = torch.tensor([0.5, 0.3, 0.2, 0.9], dtype=torch.float64, requires_grad=True)
    total = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    v = torch.tensor([2.0, 1.0, 3.0, -1.0], dtype=torch.float64, requires_grad=True)
    y = BoxSection(None, torch.zeros(4, dtype=torch.float64), caps, Range.fixed(total)).project(v)
    torch.testing.assert_close(y, torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64))
    for_total, for_caps = torch.autograd.grad(y.sum(), [total, caps], retain_graph=True)
    torch.testing.assert_close(for_total, torch.ones_like(for_total))
    torch.testing.assert_close(for_caps, torch.zeros_like(for_caps))
    (for_v,) = torch.autograd.grad(y @ torch.arange(4.0, dtype=torch.float64), v)
    torch.testing.assert_close(for_v, torch.zeros_like(for_v))
