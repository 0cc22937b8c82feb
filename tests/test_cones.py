"""Projections onto cones: against CVXPY, the laws of Moreau, and finite differences."""

import itertools

import cvxpy as cp
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from optlayers import cones
from optlayers.cones.triangle import to_matrix

CASES = [
    ("soc", 0.0, 5),
    ("soc", 0.0, 1),
    ("psd", 0.0, 6),
    ("psd", 0.0, 1),
    ("exp", 0.0, 3),
    ("pow", 0.5, 3),
    ("pow", 0.2, 3),
    ("pow", 0.97, 3),
]
SPATIAL = [case for case in CASES if case[0] in ("exp", "pow")]
every_cone = pytest.mark.parametrize(("kind", "alpha", "k"), CASES)


def plain(k, count=500):
    return torch.randn(count, k, dtype=torch.float64)


def badly_scaled(k, count=3000):
    return plain(k, count) * 10 ** (12 * torch.rand(count, k, dtype=torch.float64) - 6)


def special(k):
    """Zeros, signs, and entries of very different sizes."""
    numbers = (-1e8, -1.0, -1e-12, 0.0, 1e-12, 1.0, 1e8) if k <= 3 else (-1.0, 0.0, 1e6)
    return torch.tensor(list(itertools.product(numbers, repeat=k)), dtype=torch.float64)


def near_boundary(kind, alpha, k):
    """Points of the boundaries of the cone and of its polar, up to rounding and up to 1e-10."""
    base = badly_scaled(k, 300)
    parts = [cones.project(kind, alpha, base), base - cones.project(kind, alpha, base)]
    return torch.cat([part * (1 + size * torch.randn_like(part)) for part in parts for size in (0.0, 1e-15, 1e-10)])


def points(kind, alpha, k):
    return torch.cat([plain(k), badly_scaled(k), special(k), near_boundary(kind, alpha, k)])


def unit(rays):
    return rays / rays.norm(dim=-1, keepdim=True)


def extreme_rays(kind, alpha):
    """Unit rays on the boundaries of a cone in space and of its polar, close together."""
    t = torch.cat(
        [torch.linspace(-30, 30, 2001), torch.logspace(1.5, 2.8, 100), -torch.logspace(1.5, 2.8, 100)]
    ).double()
    if kind == "exp":
        axes = torch.tensor([[-1.0, 0, 0], [0, 0, 1]]), torch.tensor([[0, -1.0, 0], [0, 0, -1]])
        cone = torch.stack([t, torch.ones_like(t), t.exp()], -1)
        polar = torch.stack([torch.ones_like(t), 1 - t, -(-t).exp()], -1)
    else:
        axes = torch.eye(3)[:2], -torch.eye(3)[:2]
        x, y, z = ((1 - alpha) * t).exp(), (-alpha * t).exp(), torch.ones_like(t)
        cone = torch.cat([torch.stack([x, y, sign * z], -1) for sign in (1, -1)])
        polar = torch.cat([torch.stack([-alpha * x, (alpha - 1) * y, sign * z], -1) for sign in (1, -1)])
    return unit(torch.cat([cone, axes[0]])), unit(torch.cat([polar, axes[1]]))


def excess(kind, alpha, vector, polar):
    """Return by how much vectors are outside the cone, or outside its polar."""
    if kind == "soc":
        head = vector[..., 0] if polar else -vector[..., 0]
        return vector[..., 1:].norm(dim=-1) + head
    if kind == "psd":
        values = torch.tensor(np.linalg.eigvalsh(to_matrix(vector).numpy()))
        return values.amax(-1) if polar else -values.amin(-1)
    rays = extreme_rays(kind, alpha)[0 if polar else 1]
    return (vector @ rays.mT).amax(-1)


def nearest_by_cvxpy(kind, alpha, z):
    s = cp.Variable(len(z))
    constraint = {
        "soc": lambda: cp.SOC(s[0], s[1:]),
        "psd": lambda: (
            cp.sum([s[i] * to_matrix(torch.from_numpy(row)).numpy() for i, row in enumerate(np.eye(len(z)))]) >> 0
        ),
        "exp": lambda: cp.ExpCone(s[0], s[1], s[2]),
        "pow": lambda: cp.PowCone3D(s[0], s[1], s[2], alpha),
    }
    problem = cp.Problem(cp.Minimize(cp.sum_squares(s - z)), [constraint[kind]()])
    problem.solve(solver="CLARABEL")
    return s.value


@pytest.mark.parametrize(("kind", "alpha", "k"), [case for case in CASES if case[2] > 1])
def test_cvxpy_agrees(kind, alpha, k):
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=k)), dtype=torch.float64)
    z = torch.cat([plain(k, 12), corners[torch.randperm(len(corners))[:8]]])
    expected = np.stack([nearest_by_cvxpy(kind, alpha, point) for point in z.numpy()])
    np.testing.assert_allclose(cones.project(kind, alpha, z).numpy(), expected, atol=1e-4)


@every_cone
def test_moreau(kind, alpha, k):
    """``z`` is a point of the cone plus an orthogonal point of the polar cone: that defines the projection."""
    z = points(kind, alpha, k)
    scale = z.norm(dim=-1).clamp_min(1e-300)
    s = cones.project(kind, alpha, z)
    rest = z - s
    unit_product = ((s / scale.unsqueeze(-1)) * (rest / scale.unsqueeze(-1))).sum(-1).abs()
    assert unit_product.max() <= 1e-14
    assert (excess(kind, alpha, s, polar=False) / scale).max() <= 1e-13
    assert (excess(kind, alpha, rest, polar=True) / scale).max() <= 1e-13


@every_cone
def test_idempotent_and_homogeneous(kind, alpha, k):
    z = points(kind, alpha, k)
    scale = z.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    s = cones.project(kind, alpha, z)
    assert ((cones.project(kind, alpha, s) - s).abs() / scale).max() <= 1e-14
    for factor in (1e-150, 1e150):
        assert ((cones.project(kind, alpha, factor * z) / factor - s).abs() / scale).max() <= 1e-14


@every_cone
def test_jacobian_is_a_derivative(kind, alpha, k):
    z = plain(k, 300)
    steps = 1e-6 * torch.eye(k, dtype=torch.float64)
    differences = cones.project(kind, alpha, z + steps.unsqueeze(1)) - cones.project(
        kind, alpha, z - steps.unsqueeze(1)
    )
    expected = (differences / 2e-6).movedim(0, -1)
    torch.testing.assert_close(cones.jacobian(kind, alpha, z), expected, atol=1e-7, rtol=0)


@every_cone
def test_jacobian_is_symmetric_and_nonexpansive(kind, alpha, k):
    z = points(kind, alpha, k)
    jacobian = cones.jacobian(kind, alpha, z)
    torch.testing.assert_close(jacobian, jacobian.mT, atol=1e-15, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(jacobian)
    assert eigenvalues.min() >= -1e-14
    assert eigenvalues.max() <= 1 + 1e-14
    # the projection is homogeneous, so that its derivative maps the point to the projection
    mapped = (jacobian @ z.unsqueeze(-1)).squeeze(-1)
    scale = z.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    assert ((mapped - cones.project(kind, alpha, z)).abs() / scale).max() <= 1e-13


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_power_jacobian_without_height(alpha):
    z = torch.tensor([[1.0, -2.0, 0.0], [-0.5, 3.0, 0.0]], dtype=torch.float64)
    steps = 1e-5 * torch.eye(3, dtype=torch.float64)
    differences = cones.project("pow", alpha, z + steps.unsqueeze(1)) - cones.project(
        "pow", alpha, z - steps.unsqueeze(1)
    )
    expected = (differences / 2e-5).movedim(0, -1)
    torch.testing.assert_close(cones.jacobian("pow", alpha, z), expected, atol=1e-6, rtol=0)


@every_cone
def test_interiors(kind, alpha, k):
    inside = cones.project(kind, alpha, plain(k)) + interior_point(kind, k)
    identity = torch.eye(k, dtype=torch.float64).expand(len(inside), k, k)
    torch.testing.assert_close(cones.project(kind, alpha, inside), inside, atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(cones.jacobian(kind, alpha, inside), identity, atol=1e-14, rtol=0)
    # every cone here contains its dual up to the sign of x of the exponential cone
    below = -10 * interior_point(kind, k) if kind != "exp" else torch.tensor([0.5, -1.0, -5.0], dtype=torch.float64)
    assert not cones.project(kind, alpha, below).any()
    assert not cones.jacobian(kind, alpha, below).any()


def interior_point(kind, k):
    point = {"soc": [1.0] + [0.0] * (k - 1), "exp": [0.0, 1.0, 2.0], "pow": [1.0, 1.0, 0.0]}.get(kind)
    if point is None:
        n = round((2 * k) ** 0.5 - 0.5)
        point = [1.0 if row == column else 0.0 for column in range(n) for row in range(column, n)]
    return torch.tensor(point, dtype=torch.float64)


@every_cone
def test_member(kind, alpha, k):
    z = plain(k, 8).requires_grad_()
    member = lambda t: cones.member(kind, alpha, t)  # noqa: E731
    torch.testing.assert_close(member(z), cones.project(kind, alpha, z.detach()), atol=1e-14, rtol=0)
    torch.autograd.gradcheck(member, z, check_forward_ad=True, check_batched_grad=True)
    z = torch.cat([plain(k, 20), special(k)[:100]])
    jacobian = cones.jacobian(kind, alpha, z)
    for derivative in (torch.func.jacrev(member), torch.func.jacfwd(member)):
        found = torch.func.vmap(derivative)(z)
        assert bool(found.isfinite().all())
        torch.testing.assert_close(found[:20], jacobian[:20], atol=1e-13, rtol=0)


@pytest.mark.parametrize(("kind", "alpha", "k"), SPATIAL[:2])
def test_member_compiles(kind, alpha, k):
    z = plain(k, 10)
    compiled = torch.compile(lambda t: cones.member(kind, alpha, t), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(z), cones.member(kind, alpha, z))


@every_cone
def test_batches(kind, alpha, k):
    z = plain(k, 12)
    for function in (cones.project, cones.jacobian, cones.member):
        expected = function(kind, alpha, z)
        torch.testing.assert_close(function(kind, alpha, z.reshape(3, 4, k)).reshape(expected.shape), expected)
        torch.testing.assert_close(function(kind, alpha, z[0]), expected[0])
        assert function(kind, alpha, z[:0]).shape == expected[:0].shape


@every_cone
def test_single_precision(kind, alpha, k):
    z = torch.cat([plain(k), badly_scaled(k)]).float()
    scale = z.double().norm(dim=-1, keepdim=True)
    s = cones.project(kind, alpha, z)
    assert s.dtype == cones.jacobian(kind, alpha, z).dtype == torch.float32
    assert ((s.double() - cones.project(kind, alpha, z.double())).abs() / scale).max() <= 2e-6
    difference = cones.jacobian(kind, alpha, z[:500]).double() - cones.jacobian(kind, alpha, z[:500].double())
    assert difference.abs().quantile(0.99) <= 1e-4


def test_exponents_of_a_batch():
    z, alpha = plain(3, 60).reshape(20, 3, 3), torch.tensor([0.2, 0.5, 0.97], dtype=torch.float64)
    for function in (cones.project, cones.jacobian, cones.member):
        each = torch.stack([function("pow", float(a), z[:, i]) for i, a in enumerate(alpha)], 1)
        torch.testing.assert_close(function("pow", alpha, z), each)
        mapped = torch.func.vmap(lambda a, t, f=function: f("pow", a, t), in_dims=(0, 1), out_dims=1)(alpha, z)
        torch.testing.assert_close(mapped, each)
        torch.testing.assert_close(torch.func.vmap(lambda a, f=function: f("pow", a, z[:, 0]))(alpha)[0], each[:, 0])


@pytest.mark.parametrize(("kind", "alpha", "k"), SPATIAL)
@hypothesis.given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3), st.booleans()
)
@hypothesis.settings(max_examples=60)
def test_finite_and_no_longer_than_the_point(kind, alpha, k, entries, single):
    z = torch.tensor(entries, dtype=torch.float32 if single else torch.float64)
    s, jacobian = cones.project(kind, alpha, z), cones.jacobian(kind, alpha, z)
    assert bool(s.isfinite().all())
    assert bool(jacobian.isfinite().all())
    assert s.double().norm() <= z.double().norm() * (1 + 8 * torch.finfo(z.dtype).eps) + 1e-44
