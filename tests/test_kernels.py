"""Fused kernels against the plain torch forms, which are their specification."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.kernels import cpu
from optlayers.parametric.range import Range
from optlayers.sets.box_section import BoxSection
from optlayers.solvers import core
from optlayers.testing import LAWS, cases

pytestmark = pytest.mark.skipif(not cpu.is_installed(), reason="the core was not built: no compiler")
SIZES = [1, 2, 63, 64, 1000, 4097, 100_003]
KINDS = ["simplex", "capped", "weighted", "signed", "knapsack", "at least", "between", "half-bounded", "vertex"]
KINDS += ["sparse", "faint"]  # where parts of the normal are zero; where their products are
ACCURACY = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.fixture
def fused():
    """Results start as NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def section(kind, rows, n, dtype):
    """Return a section of boxes with room for one total, data shared by the rows or not, by turns."""
    generator = torch.Generator().manual_seed(n)
    shared = n % 2 == 0

    def rand(*shape):
        return torch.rand(shape, dtype=torch.float64, generator=generator)

    own = () if shared else (rows,)
    zero, caps = torch.zeros(n, dtype=torch.float64), (1 + rand(*own, n)) * 3 / n
    weights, signed = 0.5 + rand(*own, n), torch.where(rand(*own, n) < 0.2, 0.0, rand(*own, n) - 0.5)
    total = 1 + rand(*own)
    fields = {
        "simplex": (None, zero, None, total, total),
        "capped": (None, zero, caps, total, total),
        "weighted": (weights, zero, None, total, total),
        "signed": (signed, -caps, caps, 0 * total, 0 * total),
        "knapsack": (weights, zero, caps, None, total),
        "sparse": (
            torch.where(rand(n) < 0.9, 0.0, weights).index_fill(-1, torch.tensor(0), 1.0),
            zero,
            zero + 4,
            total,
            total,
        ),
        "faint": (
            torch.where(rand(n) < 0.9, 1e-43, weights).index_fill(-1, torch.tensor(0), 1.0),
            zero,
            zero + 4,
            total,
            total,
        ),
        "at least": (None, caps - 2, None, total, None),
        "between": (weights, -caps, caps, -total / 2, total / 2),
        "half-bounded": (None, torch.where(rand(n) < 0.5, -torch.inf, zero), None, total, total),
        "vertex": (None, zero, zero + 1, total.round() * 0 + n // 2, total * 0 + n // 2),
    }[kind]
    fields = [None if t is None else t.to(dtype) for t in fields]
    normal, lower, upper, least, most = fields
    fixed = kind not in ("knapsack", "at least", "between")
    return BoxSection(normal, lower, upper, Range(least, least if fixed else most, fixed))


def points(rows, n, dtype, scale):
    generator = torch.Generator().manual_seed(rows + n)
    v = scale * torch.randn(rows, n, dtype=torch.float64, generator=generator)
    v[rows // 2] = v[rows // 2].mul(2 / scale).round() * scale  # ties
    return v.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_plain_form(kind, n, dtype, monkeypatch, fused):
    rows = 3 if n > 10_000 else 7
    for scale in (1.0, 10 / n, 1e6):
        case = section(kind, rows, n, dtype)
        v = points(rows, n, dtype, scale).requires_grad_()
        weight = points(rows, n, dtype, 1.0)
        y = case.project(v)
        (gradient,) = torch.autograd.grad(y, v, weight)
        monkeypatch.setattr(cpu, "is_installed", lambda: False)
        data = [None if t is None else t.double() for t in (case.normal, case.lower, case.upper)]
        wide = BoxSection(*data, case.total.map(torch.Tensor.double))
        u = v.detach().double().requires_grad_()
        expected = wide.project(u)
        (right,) = torch.autograd.grad(expected, u, weight.double())
        monkeypatch.undo()
        size = max(1.0, float(v.detach().abs().max()))
        assert float((y - expected).detach().abs().max()) <= ACCURACY[dtype] * size
        clear = _clear(expected.detach(), wide, ACCURACY[dtype] * size)
        gap = (gradient - right).abs().amax(-1)[clear]
        assert gap.numel() == 0 or float(gap.max()) <= 1e3 * ACCURACY[dtype] * max(1.0, float(right.abs().max()))


def _clear(y, section, margin):
    """Return the rows with no entry, and no total, so near a bound that rounding decides on which side it is."""
    near = torch.zeros(y.shape, dtype=torch.bool)
    for bound in (section.lower, section.upper):
        if bound is not None:
            near |= ((y - bound).abs() <= margin) & (y != bound)
    product = (y if section.normal is None else section.normal * y).sum(-1)
    doubtful = near.any(-1)
    for bound in () if section.total.is_fixed else section.total.bounds:
        doubtful |= ((product - bound).abs() <= 1e-5) & (product != bound)
    return ~doubtful


LAWFUL = [
    pytest.param(case, law, id=f"{case.name}-{name}")
    for case in cases(BoxSection)
    for name, law in LAWS.items()
    if name not in ("agrees_with_cvxpy", "agrees_with_general_solver", "knows_when_it_is_empty", "is_recognised")
]


@pytest.mark.parametrize(("case", "law"), LAWFUL)
def test_law_of_the_plain_form(case, law, monkeypatch):
    monkeypatch.setattr(cpu, "is_installed", lambda: False)
    law(case)


def test_rows_and_columns_of_matrices(fused):
    X = cp.Variable((50, 40))
    by_rows, by_columns = (FeasibleSet([X >= 0, cp.sum(X, axis=axis) == 1]) for axis in (1, 0))
    v = torch.randn(5, 50, 40, dtype=torch.float64)
    torch.testing.assert_close(by_columns.project(v), by_rows_of_transpose(v))
    assert float((by_rows.project(v).sum(-1) - 1).abs().max()) < 1e-12


def by_rows_of_transpose(v):
    X = cp.Variable((40, 50))
    return FeasibleSet([X >= 0, cp.sum(X, axis=1) == 1]).project(v.mT).mT


def test_strides(fused):
    n = 300
    x = cp.Variable(n)
    simplex = FeasibleSet([x >= 0, cp.sum(x) == 1])
    wide = torch.randn(20, 2 * n)
    for v in (
        wide[:, ::2],
        wide[:, :n],
        wide[::3, :n],
        wide[:, : n // 100 * 100].T[:, :20].T,
        wide[0, :n].expand(4, n),
    ):
        torch.testing.assert_close(simplex.project(v), simplex.project(v.contiguous()))
    leaf = wide[:, :n].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(simplex.project(leaf).sum(), leaf)  # a gradient that is one number, expanded
    assert float(gradient.abs().max()) < 1e-6


def test_a_result_changed_in_place_is_noticed(fused):
    x = cp.Variable(5)
    v = torch.randn(3, 5, requires_grad=True)
    y = FeasibleSet([x >= 0, cp.sum(x) == 1]).project(v)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()


def test_from_many_threads_and_after_a_fork():
    x = cp.Variable(1000)
    simplex = FeasibleSet([x >= 0, cp.sum(x) == 1])
    v = torch.randn(256, 1000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected, results = simplex.project(v), []
        threads = [threading.Thread(target=lambda: results.append(simplex.project(v))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        assert all(torch.equal(result, expected) for result in results)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_project_and_compare, args=(v, expected))
        process.start()
        process.join(60)
        exitcode = process.exitcode
        process.kill()
        assert exitcode == 0
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def new_threads():
    """Kernels run on threads of their own, as where torch's OpenMP has not the right ABI."""
    kernels = importlib.import_module("optlayers._core")
    kernels.use_torch_threads(False)
    yield
    kernels.use_torch_threads(True)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_torch_without_the_right_openmp_gets_threads_of_our_own(two_threads, request):
    x = cp.Variable(1000)
    simplex = FeasibleSet([x >= 0, cp.sum(x) == 1])
    v = torch.randn(256, 1000)
    expected = simplex.project(v)
    request.getfixturevalue("new_threads")
    assert torch.equal(simplex.project(v), expected)


@pytest.mark.parametrize("fallback", [False, True])
def test_a_kernel_that_fails_in_a_thread_is_noticed(two_threads, request, fallback):
    if fallback:
        request.getfixturevalue("new_threads")
    kernels, rows, no_arrays = importlib.import_module("optlayers._core"), (2, 1 << 60), [0] * 18
    with pytest.raises(MemoryError):  # for the blocks of such a row
        kernels.box_section(True, 2, *rows, *no_arrays)


FEWER = """
import sys, torch, cvxpy as cp
from optlayers import FeasibleSet
torch.set_num_threads(4)
x = cp.Variable(1000)
y = FeasibleSet([x >= 0, cp.sum(x) == 1]).project(torch.randn(256, 1000))
assert torch.get_num_threads() == 4 and float((y.sum(-1) - 1).abs().max()) < 1e-5
"""


@pytest.mark.parametrize("limit", ["1", "3"])
def test_openmp_may_grant_fewer_threads(limit):
    environment = os.environ | {"OMP_THREAD_LIMIT": limit, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-W", "error", "-c", FEWER], check=True, env=environment)


def _project_and_compare(v, expected):
    """Call the kernel itself: torch's own threads do not survive a fork."""
    from optlayers.kernels.cpu import box_section

    y, _ = box_section.project(v, None, torch.zeros(1, v.shape[-1]), None, Range.fixed(torch.ones(1)))
    sys.exit(0 if np.array_equal(y.numpy(), expected.numpy()) else 1)


def test_without_the_core_the_plain_form_serves(monkeypatch):
    x = cp.Variable(1000)
    simplex = FeasibleSet([x >= 0, cp.sum(x) == 1])
    v = torch.randn(64, 1000, dtype=torch.float64)
    fast, told = simplex.project(v), simplex.explain()
    monkeypatch.setattr(cpu, "is_installed", lambda: False)
    monkeypatch.setattr(core, "_core", None)
    torch.testing.assert_close(simplex.project(v), fast)
    assert simplex.explain().removeprefix(told).startswith("\n- the compiled core was not built")
