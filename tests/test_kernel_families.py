"""Kernels of norm balls, second-order cones and isotonic rows against formulas in float64."""

import pytest
import torch
from torch.nn.functional import normalize

from optlayers.cones import second_order
from optlayers.kernels import cpu
from optlayers.parametric.range import Range
from optlayers.sets.box_section import BoxSection
from optlayers.sets.isotonic import Isotonic
from optlayers.sets.l1_ball import L1Ball
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.second_order_cone import SecondOrderCone
from optlayers.testing import LAWS, cases

pytest.importorskip("optlayers._core")

from optlayers.kernels.cpu import isotonic, l1_ball, l2_ball, second_order_cone

SIZES = [1, 2, 63, 64, 1000, 4097]
DTYPES = [torch.float64, torch.float32]
ACCURACY = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.fixture(autouse=True)
def _poisoned():
    """Results start as NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def points(n, dtype, scale=1.0):
    v = scale * torch.randn(6, n, dtype=torch.float64)
    v[1], v[2], v[3] = v[1].round(), 0.0, 1e-3 * v[3]
    return v.to(dtype)


def close(one, other, dtype, scale=1.0):
    assert float((one.double() - other).detach().abs().max()) <= ACCURACY[dtype] * scale


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_l1_ball(n, dtype, weighted):
    v = points(n, dtype)
    weights = torch.where(torch.rand(n) < 0.1, 0.0, 0.5 + torch.rand(n)).to(dtype).unsqueeze(0) if weighted else None
    radius = torch.tensor([0.7], dtype=dtype)
    y, tight = l1_ball.project(v, weights, radius)
    w = torch.ones(1, n, dtype=torch.float64) if weights is None else weights.double()
    size, total = v.double().abs().requires_grad_(), radius.double()
    cost = (w * size).sum(-1)
    assert torch.equal(tight, cost >= total)
    expected = BoxSection(w, torch.zeros(1, n).double(), None, Range(None, total)).project(size)
    close(y, v.double().sign() * expected, dtype)
    g = torch.randn_like(v)
    pulled = l1_ball.pull(g, y, tight, weights)
    u = v.double().requires_grad_()
    signed = u.sign() * BoxSection(w, torch.zeros(1, n).double(), None, Range(None, total)).project(u.abs())
    (right,) = torch.autograd.grad(torch.where((cost < total).unsqueeze(-1), u, signed), u, g.double())
    regular = ((expected > 0) == (y != 0)).all(-1) & ((u != 0) | (w > 0)).all(-1)
    close(pulled[regular], right[regular], dtype, 100)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e25])
def test_l2_ball(n, dtype, scale):
    v = points(n, dtype, scale)
    radius = torch.tensor([0.5 * scale * n**0.5], dtype=dtype)
    y, norm = l2_ball.project(v, radius)
    plain = L2Ball(torch.zeros(n, dtype=torch.float64), radius.double())
    u, g = v.double().requires_grad_(), torch.randn_like(v)
    expected = plain.project(u)
    close(y / scale, expected / scale, dtype, 3 + n**0.5 / 10)
    (right,) = torch.autograd.grad(expected, u, g.double())
    close(l2_ball.pull(g, v, norm, radius), right, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [2, 63, 64, 1000, 4097])
def test_second_order_cone(n, dtype):
    v = points(n, dtype)
    v[0, 0], v[3, 0], v[4, 0], v[5, 0] = -100.0 * n, 0.0, 0.3 * n**0.5, 100.0 * n
    u, g = v.double().requires_grad_(), torch.randn_like(v)
    expected = second_order.project(u)
    scale = float(v.detach().abs().max())
    close(second_order_cone.project(v), expected, dtype, scale)
    (right,) = torch.autograd.grad(expected, u, g.double())
    nonzero = (v != 0).any(-1)
    close(second_order_cone.pull(g, v)[nonzero], right[nonzero], dtype, 10)
    heads = torch.tensor([n - 1, n // 2, 1])
    for k, head in enumerate(heads.tolist()):  # with another head, all is as before
        order = torch.arange(n).roll(head)
        rows = slice(k, None, 3)
        y = second_order_cone.project(v[:, order].contiguous(), heads)[rows]
        close(y[:, order.argsort()], expected[rows], dtype, scale)
        pulled = second_order_cone.pull(g[:, order].contiguous(), v[:, order].contiguous(), heads)[rows]
        close(pulled[:, order.argsort()][nonzero[rows]], right[rows][nonzero[rows]], dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_isotonic(n, dtype):
    v = points(n, dtype) + torch.linspace(0, 1, n).to(dtype)
    y, starts = isotonic.project(v)
    assert bool((y.diff(dim=-1) >= 0).all())
    fresh = starts == torch.arange(n)
    assert bool(fresh[:, 0].all())
    pool = fresh.cumsum(-1) - 1
    member = torch.nn.functional.one_hot(pool, n).double() if n <= 1000 else None
    slack = (v.double() - y.double()).cumsum(-1)  # the multipliers of y_i <= y_{i+1} are its negatives
    tolerance = ACCURACY[dtype] * n
    assert float(slack.detach().min()) >= -tolerance
    ends = torch.cat([fresh[:, 1:], torch.ones(6, 1, dtype=torch.bool)], -1)
    assert float(slack[ends].abs().max()) <= tolerance
    if member is not None:
        g = torch.randn_like(v)
        mean = normalize(member, p=1, dim=1).mT @ g.double().unsqueeze(-1)
        close(isotonic.pull(g, starts), (member @ mean).squeeze(-1), dtype, 10)


@pytest.mark.parametrize(
    "law", [law for name, law in LAWS.items() if "cvxpy" not in name], ids=lambda law: law.__name__
)
@pytest.mark.parametrize(
    "case",
    [case for kind in (Isotonic, L1Ball, L2Ball, SecondOrderCone) for case in cases(kind)],
    ids=lambda case: case.name,
)
def test_law_of_the_plain_form(case, law, monkeypatch):
    torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(cpu, "is_installed", lambda: False)
    law(case)
