"""The same set in other units: ``P_sK(s v) = s P_K(v)``, exactly, whatever `s` is."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet

FORM = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])

SQUARES = {  # of a variable, the bound on the square, and the unit
    "sum of squares": lambda x, c, s: [cp.sum_squares(x) <= c],
    "scaled": lambda x, c, s: [cp.sum_squares(14 * x) <= 686 * c],
    "around a centre": lambda x, c, s: [cp.sum_squares(x - 0.2 * s) <= c],
    "quadratic form": lambda x, c, s: [cp.quad_form(x, FORM) <= c],
    "variance": lambda x, c, s: [cp.var(x) <= c],
    "over a number": lambda x, c, s: [cp.quad_over_lin(x, 2.0) <= c],
    "square of a norm": lambda x, c, s: [cp.norm(x) ** 2 <= c],
    "entry by entry": lambda x, c, s: [cp.square(x) <= c],
    "sum of entries' squares": lambda x, c, s: [cp.sum(cp.square(x)) <= c],
    "two sums": lambda x, c, s: [cp.sum_squares(x) + cp.sum_squares(2 * x[:2]) <= c],
    "meets a box": lambda x, c, s: [cp.sum_squares(x) <= c, x >= -0.1 * s],
    "meets a half-space": lambda x, c, s: [cp.sum_squares(x) <= c, x[0] + 2 * x[1] - x[2] <= 0.3 * s],
    "meets a hyperplane": lambda x, c, s: [cp.sum_squares(x) <= c, cp.sum(x) == 0.5 * s],
    "meets an affine set": lambda x, c, s: [cp.sum_squares(x) <= c, cp.sum(x) == 0.5 * s, x[0] - x[1] == 0.1 * s],
    "paraboloid": lambda x, c, s: [cp.sum_squares(x[:2]) <= x[2] * s + c],
}


@pytest.mark.parametrize("scale", [1e-9, 1e-8, 3e4, 1e8, 1e9])
@pytest.mark.parametrize("name", SQUARES)
def test_squares(name, scale):
    x = cp.Variable(3, name="x")
    level = cp.Parameter(nonneg=True, name="level")
    v = 3 * torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = FeasibleSet(SQUARES[name](x, 1.0, 1.0)).project(v)
    number = FeasibleSet(SQUARES[name](x, scale**2, scale))
    parameter = FeasibleSet(SQUARES[name](x, level, scale)).bind(torch.tensor(scale**2, dtype=torch.float64))
    for feasible_set in (number, parameter):
        assert feasible_set.method == "closed_form"
        torch.testing.assert_close(feasible_set.project(scale * v) / scale, expected, rtol=0, atol=1e-13)


def test_dual_of_a_square_with_a_large_bound():
    """On the sphere of radius r in units of 14, ``v - y = dual * 2 * 14^2 y``."""
    x = cp.Variable(3)
    found = FeasibleSet([cp.sum_squares(14 * x) <= 686]).solve(torch.tensor([300.0, 400.0, 0.0], dtype=torch.float64))
    radius = 686**0.5 / 14
    expected = torch.tensor((500 - radius) / (2 * 14**2 * radius), dtype=torch.float64)
    torch.testing.assert_close(found.dual[0], expected, rtol=1e-7, atol=0)


CURVED = {
    "ball": lambda x: [cp.norm(x) <= 1.5],
    "box meets ball": lambda x: [cp.norm(x) <= 1.5, x >= -0.1],
    "ellipsoid": lambda x: [cp.norm(FORM @ x) <= 1.5],
    "elliptic cylinder": lambda x: [cp.norm(FORM[:2] @ x) <= 1.5],
    "second-order cone": lambda x: [cp.norm(x[:2]) <= x[2]],
    "steep cone": lambda x: [cp.norm(x[:2]) <= 3 * x[2] - 1],
    "rotated cone": lambda x: [cp.quad_over_lin(x[0], x[1]) <= x[2]],
    "paraboloid": lambda x: [cp.sum_squares(x[:2]) <= x[2] + 1],
}


@pytest.mark.parametrize(
    ("dtype", "exponents"), [(torch.float32, (-37, -20, 20, 30)), (torch.float64, (-300, -20, 20, 140))]
)
@pytest.mark.parametrize("name", CURVED)
def test_ends_of_the_range(name, dtype, exponents):
    """Projections are finite and projections again, and gradients are finite, from the least to the largest numbers."""
    x = cp.Variable(3, name="x")
    feasible_set = FeasibleSet(CURVED[name](x), x)
    v = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for exponent in exponents if name != "paraboloid" else (*exponents[:2], 15):
        leaf = (v * 10.0**exponent).to(dtype).requires_grad_()
        y = feasible_set.project(leaf)
        (gradient,) = torch.autograd.grad(y.sum(), leaf)
        assert bool(gradient.isfinite().all()), exponent
        again = feasible_set.project(y.detach())
        torch.testing.assert_close(again, y.detach(), rtol=0, atol=1e-4 * float(y.detach().abs().max()))


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("build", [lambda x: [x >> 0, cp.trace(x) == 1], lambda x: [cp.normNuc(x) <= 1]])
def test_only_matrices_that_are_not_finite_fail(build, validate):
    x = cp.Variable((3, 3), symmetric=True)
    feasible_set = FeasibleSet(build(x), x, on_failure="nan", validate=validate)
    v = torch.randn(3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = feasible_set.project(v)
    for bad in (torch.nan, torch.inf):
        leaf = v.clone()
        leaf[0] = bad
        leaf.requires_grad_()
        found = feasible_set.solve(leaf)
        torch.testing.assert_close(found.value[1:], expected[1:])
        assert found.solved.tolist() == [False, True, True]
        assert bool(torch.autograd.grad(found.value[1:].sum(), leaf)[0][1:].isfinite().all())
