"""Sets run on their fused kernels, whole: values, gradients and second derivatives are those of the plain form."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.kernels import cpu, dispatch, fused, gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = [1, 2, 63, 64, 1000, 4097]
PACKAGES = [
    pytest.param(cpu, marks=pytest.mark.skipif(not cpu.is_installed(), reason="the core was not built")),
    pytest.param(gpu, marks=pytest.mark.skipif(not gpu.is_installed(), reason="triton is not installed")),
]
pytestmark = pytest.mark.filterwarnings("ignore:(.*encountered in|invalid value|divide by zero):RuntimeWarning")


def weights(n):
    return 0.5 + np.linspace(0, 1, n)


def center(n):
    return np.sin(np.arange(1.0, n + 1))


SETS = {
    "box": ("box", lambda x, n: [x >= -weights(n), x <= 0.3]),
    "simplex": ("box_section", lambda x, n: [x >= 0, cp.sum(x) == 1]),
    "capped simplex": ("box_section", lambda x, n: [x >= 0, x <= 0.3, weights(n) @ x == 0.07 * n]),
    "L1 ball": ("l1_ball", lambda x, n: [cp.norm(x, 1) <= 1.5]),
    "weighted L1 ball": ("l1_ball", lambda x, n: [weights(n) @ cp.abs(x) <= 1.5]),
    "L1 ball with a centre": ("l1_ball", lambda x, n: [cp.norm(x - center(n), 1) <= 1.5]),
    "asymmetric L1 ball": ("l1_ball", lambda x, n: [cp.sum(2 * cp.pos(x - center(n)) + cp.neg(x - center(n))) <= 1.5]),
    "L2 ball": ("l2_ball", lambda x, n: [cp.norm(x) <= 0.5 * n**0.5]),
    "L2 ball with a centre": ("l2_ball", lambda x, n: [cp.norm(x - center(n)) <= 0.5 * n**0.5]),
    "second-order cone": ("second_order_cone", lambda x, n: [cp.norm(x[1:]) <= x[0]]),
    "head last": ("second_order_cone", lambda x, n: [cp.norm(x[:-1]) <= x[n - 1]]),
    "head inside": ("second_order_cone", lambda x, n: [cp.SOC(x[n // 2], x[np.arange(n) != n // 2])]),
    "nondecreasing": ("isotonic", lambda x, n: [cp.diff(x) >= 0]),
    "nonincreasing, bounded": ("isotonic", lambda x, n: [cp.diff(x) <= 0, x >= -0.2, x <= 1]),
}
LEAST = dict.fromkeys(
    ["nondecreasing", "nonincreasing, bounded", "second-order cone", "head last", "head inside"], 3
) | dict.fromkeys([name for name in SETS if "ball" in name or "simplex" in name], 2)


@pytest.fixture
def kernels(request, monkeypatch):
    """One package's kernels serve whatever the size while ``calls.on``, no others; results start as NaN."""

    class Calls(list):
        on = False

    calls = Calls()
    for package in (cpu, gpu):
        own = package is request.param
        monkeypatch.setattr(package, "available", lambda tensor, own=own: own and calls.on)
    load = dispatch.module_of

    def module(package, family):
        if family != "finite":
            calls.append(family)
        return load(package, family)

    monkeypatch.setattr(dispatch, "module_of", module)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield calls
    torch.use_deterministic_algorithms(False)


def cases():
    for package in PACKAGES:
        for name in SETS:
            for n in SIZES:
                small = n < LEAST.get(name, 1)
                long = package.values[0] is gpu and n > 64
                if not (small or (package.values[0] is cpu and name == "box")):
                    marks, device = [*package.marks, *[pytest.mark.slow] * long], package.values[0].__name__[-3:]
                    yield pytest.param(package.values[0], name, n, marks=marks, id=f"{name}-{n}-{device}")


@pytest.mark.parametrize(("kernels", "name", "n"), list(cases()), indirect=["kernels"])
def test_agrees_with_the_plain_form(kernels, name, n):
    family, make = SETS[name]
    x = cp.Variable(n)
    feasible_set = FeasibleSet(make(x, n), x)
    assert feasible_set.method == "closed_form"
    generator = torch.Generator().manual_seed(n)
    v = torch.randn(2, 3, n, dtype=torch.float64, generator=generator)
    v[0, 0] *= 1e-2
    v[1, 2] += torch.linspace(0, 3, n)
    v = v.to(DEVICE)
    g, h = (torch.randn(v.shape, dtype=torch.float64, generator=generator).to(DEVICE) for _ in range(2))
    results = []
    for kernels.on in (False, True):
        point = v.clone().requires_grad_()
        y = feasible_set.project(point)
        (first,) = torch.autograd.grad(y, point, g, retain_graph=True)
        (several,) = torch.autograd.grad(y, point, torch.stack([g, h]), retain_graph=True, is_grads_batched=True)
        mapped = torch.func.vmap(lambda w, y=y, point=point: torch.autograd.grad(y, point, w, retain_graph=True)[0])(
            torch.stack([g, h])
        )
        (graph,) = torch.autograd.grad(y, point, g, create_graph=True)
        (bend,) = torch.autograd.grad((graph * h).sum() + 0 * point.sum(), point)
        results.append((feasible_set.project(v), y.detach(), first, several, mapped, graph.detach(), bend))
        assert kernels == [family] * (len(kernels) if kernels.on else 0)
    assert family in kernels, "the kernels are not called"
    for plain, own in zip(*results, strict=True):
        torch.testing.assert_close(own, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernels", PACKAGES, indirect=True)
def test_data_that_take_turns(kernels):
    """Radii and centres with batch dimensions of their own, and cones whose heads differ."""
    x, r, c = cp.Variable(4), cp.Parameter(nonneg=True), cp.Parameter(4)
    X = cp.Variable((2, 3))
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(5, 3, 4, dtype=torch.float64, generator=generator).to(DEVICE)
    radius = torch.tensor([0.0, 0.5, 9.0], dtype=torch.float64, device=DEVICE)
    heads = FeasibleSet([cp.norm(X[0, 1:]) <= X[0, 0], cp.norm(X[1, :2]) <= X[1, 2]])
    points = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator).to(DEVICE)
    balls = [FeasibleSet([cp.norm(x - c, p) <= r], x, [r, c]).bind(radius, v[0].flip(0)) for p in (1, 2)]
    for feasible_set, tensor in ((heads, points), (balls[0], v), (balls[1], v)):
        results = []
        for kernels.on in (False, True):
            point = tensor.clone().requires_grad_()
            y = feasible_set.project(point)
            (gradient,) = torch.autograd.grad(y.square().sum(), point, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), point)
            results.append((y.detach(), gradient.detach(), second))
        for plain, own in zip(*results, strict=True):
            torch.testing.assert_close(own, plain, rtol=0, atol=1e-11)
    assert set(kernels) == {"second_order_cone", "l1_ball", "l2_ball"}


@pytest.mark.parametrize("kernels", PACKAGES, indirect=True)
def test_points_inside_stay_as_they_are(kernels):
    """Moving a ball's centre to zero and back rounds; what is inside must not move."""
    x = cp.Variable(50)
    kernels.on = True
    v = center(50) + 1e-3 * np.random.default_rng(0).normal(size=(8, 50))
    v = torch.from_numpy(v).to(DEVICE)
    for p in (1, 2):
        assert torch.equal(FeasibleSet([cp.norm(x - center(50), p) <= 3], x).project(v), v)
    assert set(kernels) == {"l1_ball", "l2_ball"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kernels", PACKAGES[1:], indirect=True)
def test_half_types(kernels, name, dtype, monkeypatch):
    """Kernels for GPUs get points of half types as they are; bounds that these types do not have do not hurt."""
    if dtype == torch.bfloat16 and DEVICE == "cpu" and name in ("box", "capped simplex"):
        pytest.skip("the interpreter truncates what it stores in bfloat16, as no device does")
    x, eps, seen = cp.Variable(40), torch.finfo(dtype).eps, []
    find = dispatch.find
    monkeypatch.setattr(fused, "find", lambda family, v, *data: (seen.append(v.dtype), find(family, v, *data))[1])
    feasible_set = FeasibleSet(SETS[name][1](x, 40), x)
    v, g, h = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)
    results = []
    for kernels.on in (False, True):
        point = v.clone().requires_grad_()
        y = feasible_set.project(point)
        assert y.dtype == dtype
        (first,) = torch.autograd.grad(y, point, g, create_graph=True)
        (bend,) = torch.autograd.grad((first * h).sum() + 0 * point.sum(), point)
        (alone,) = torch.autograd.grad(feasible_set.project(point), point, g)
        results.append([y.detach(), first.detach(), bend, alone])
    if "centre" not in name and not name.startswith("non") and "asymmetric" not in name:
        assert seen[-1] == dtype
    for plain, own in zip(*results, strict=True):
        assert own.dtype == dtype
        torch.testing.assert_close(own.float(), plain.float(), rtol=2 * eps, atol=4 * eps)
    solution = feasible_set.solve(v)
    torch.testing.assert_close(solution.value, results[0][0], rtol=2 * eps, atol=4 * eps)
