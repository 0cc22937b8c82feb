"""Which kernels a set takes."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.kernels import cpu, dispatch, gpu
from optlayers.kernels.dispatch import find


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow):RuntimeWarning")  # the interpreter's
@pytest.mark.skipif(not gpu.is_installed(), reason="triton is not installed")
def test_boxes_with_totals_run_on_the_kernels_for_gpus(monkeypatch):
    """Values and gradients are those of the plain form, under Triton's interpreter or on a device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setattr(cpu, "available", lambda tensor: False)
    x = cp.Variable(6)
    weights = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.1])
    v = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).to(device)
    g = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).to(device)
    for constraints in ([x >= 0, cp.sum(x) == 1], [x >= 0, x <= 0.5, weights @ x <= 1], [cp.norm(x) <= 1]):
        feasible_set = FeasibleSet(constraints, x)
        results = []
        for fused in (False, True):
            monkeypatch.setattr(gpu, "available", lambda tensor, fused=fused: fused)
            point = v.clone().requires_grad_()
            y = feasible_set.project(point)
            results.append((y.detach(), *torch.autograd.grad((y * g).sum(), point)))
        for plain, own in zip(*results, strict=True):
            torch.testing.assert_close(own, plain, rtol=0, atol=1e-6)


def test_traced_and_parametric_data_take_the_plain_form(monkeypatch):
    monkeypatch.setattr(cpu, "available", lambda tensor: True)
    v = torch.zeros(2, 3)
    assert find(None, v) is None
    assert find("box_section", v, torch.zeros(3, requires_grad=True)) is None
    seen = []
    torch.func.vmap(lambda row: (seen.append(find("box_section", row)), row)[1])(v)
    assert seen == [None]


def broken(*arguments):
    raise TypeError("the compiler has changed")


def test_the_plain_form_serves_where_kernels_cannot_be_imported(monkeypatch):
    v = torch.randn(2000, 64, dtype=torch.float64)
    x = cp.Variable(64)
    simplex = FeasibleSet([x >= 0, cp.sum(x) == 1])
    expected = simplex.project(v)
    dispatch.module_of.cache_clear()
    monkeypatch.setattr(dispatch, "import_module", broken)
    with pytest.warns(RuntimeWarning, match="plain form") as caught:
        y, again = (simplex.project(v) for _ in range(2))
    dispatch.module_of.cache_clear()
    assert len(caught) == 1
    assert torch.equal(y, again)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


CAPS = np.linspace(0.05, 0.3, 64)
COMPILED = {
    "simplex": lambda x: [x >= 0, cp.sum(x) == 1],
    "knapsack": lambda x: [x >= 0, x <= CAPS, (1 + CAPS) @ x <= 2],
    "L1 ball": lambda x: [cp.norm1(x - CAPS) <= 1],
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_graphs_run_the_kernels(name, monkeypatch):
    """Values and gradients are those of eager mode, by the same kernels; parameters keep their derivatives."""
    family = "l1_ball" if name == "L1 ball" else "box_section"
    kernels = pytest.importorskip(f"optlayers.kernels.cpu.{family}")
    calls = []
    for function in ("project", "pull"):
        original = getattr(kernels, function)
        counted = lambda *data, f=original, name=function, **more: (calls.append(name), f(*data, **more))[1]  # noqa: E731
        monkeypatch.setattr(kernels, function, counted)
    x = cp.Variable(64)
    feasible_set = FeasibleSet(COMPILED[name](x), x)
    v = torch.randn(300, 64, requires_grad=True)
    g = torch.randn(300, 64)
    results = []
    for project in (feasible_set.project, torch.compile(feasible_set.project, fullgraph=True, backend="aot_eager")):
        y = project(v)
        results.append((y.detach(), *torch.autograd.grad((y * g).sum(), v)))
    assert calls == ["project", "pull"] * 2
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-6)


def test_compiled_graphs_differentiate_data_by_the_plain_form():
    x, total = cp.Variable(64), cp.Parameter()
    feasible_set = FeasibleSet([x >= 0, cp.sum(x) == total], x)
    v, value = torch.randn(300, 64), torch.tensor(2.0, requires_grad=True)

    def run(v, value):
        return feasible_set.bind(value).project(v).square().sum()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(v, value), value)
    torch.testing.assert_close(gradient, *torch.autograd.grad(run(v, value), value))
