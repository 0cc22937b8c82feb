"""Triton kernels give what the plain torch forms give: values and gradients. Interpreted on the CPU, real on a GPU.

Every buffer that a kernel gets is full of NaN first.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from optlayers.kernels import gpu
from optlayers.parametric.range import Range

pytest.importorskip("triton", reason="Triton is not installed")

import triton.language as tl
from triton_families import FAMILIES, Family, constant, pattern, section, total

from optlayers.kernels.gpu import (
    box,
    box_section,
    isotonic,
    l1_ball,
    l2_ball,
    launch,
    section_passes,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning:triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SLOW = pytest.param(True, marks=pytest.mark.slow)  # under the interpreter
SIZES = [1, 2, 63, 64, 1000, 4097, 100_003]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch):
    """Fill what is allocated without a value with NaN, or with the largest integer."""

    def poisoned(allocate, *args, **kwargs):
        tensor = allocate(*args, **kwargs)
        if tensor.is_floating_point():
            return tensor.fill_(torch.nan)
        return tensor.fill_(True if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max)

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, partial(poisoned, getattr(torch, name)))


@pytest.fixture
def long(request, monkeypatch):
    """If asked for, share all rows of more than 32 or 64 entries."""
    if request.param:
        monkeypatch.setattr(launch, "_PER_THREAD", 4)
        monkeypatch.setattr(launch, "_MOST_WARPS", 1)
        monkeypatch.setattr(section_passes, "_SAMPLE", 32)


def points(rows: int, n: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    v = torch.randn(rows, n, dtype=torch.float64, generator=generator) * scale
    v[0, 0] = n**0.5  # a row that is in the second-order cone, near its boundary
    return v.to(dtype).to(DEVICE)


def check(family: Family, v: Tensor) -> None:
    """Compare value and gradient with the plain form in float64."""
    g = torch.randn(v.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(v)
    y, pulled = family.kernel(v, g)
    exact = v.double().clone().requires_grad_()
    expected = family.plain(exact)
    assert (y.dtype, y.shape, pulled.dtype, pulled.shape) == (v.dtype, v.shape, v.dtype, v.shape)
    size = max(1.0, float(v.abs().max()) if v.numel() else 1.0)
    tolerance = TOLERANCE[v.dtype] * size
    torch.testing.assert_close(y.double(), expected.detach(), atol=tolerance, rtol=0)
    if v.dtype in (torch.float32, torch.float64):  # a rounded value may be at a bound
        (gradient,) = torch.autograd.grad(expected, exact, g.double())
        torch.testing.assert_close(pulled.double(), gradient, atol=2 * TOLERANCE[v.dtype], rtol=0)


def comparisons() -> Iterator[Any]:
    """Yield what is compared; what takes long under the interpreter is marked so."""
    for name in FAMILIES:
        for dtype in TOLERANCE:
            for n in SIZES:
                slow = (
                    n == SIZES[-1]
                    or (n > 1000 and (dtype != torch.float32 or "isotonic" in name))
                    or (n == 1000 and dtype.itemsize == 2)
                )
                yield pytest.param(name, n, dtype, id=f"{name}-{n}-{dtype}", marks=[pytest.mark.slow] * slow)


@pytest.mark.parametrize(("name", "n", "dtype"), list(comparisons()))
def test_agrees_with_the_plain_form(name, n, dtype):
    check(FAMILIES[name], points(1 if n == SIZES[-1] else 3, n, dtype))


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_scales(name, dtype, scale):
    """Supports of all sizes, huge points."""
    check(FAMILIES[name], points(3, 40, dtype, scale))


@pytest.mark.parametrize(
    ("n", "dtype"), [(100, torch.float64), pytest.param(4097, torch.float32, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_in_passes(name, n, dtype, monkeypatch):
    """A row of any length can be shared by programs, whatever the order of its entries."""
    monkeypatch.setattr(launch, "_PER_THREAD", 4 if n < 1000 else 32)
    monkeypatch.setattr(launch, "_MOST_WARPS", 1)
    monkeypatch.setattr(section_passes, "_SAMPLE", 64)
    v = points(2, n, dtype)
    v[1] = 1e-2 * v[1].sort().values
    check(FAMILIES[name], v)
    if "box" not in name:
        v[0, -1] = torch.nan
        assert FAMILIES[name].kernel(v, v.nan_to_num())[0].isnan().all(-1).tolist() == [True, False]


@pytest.mark.parametrize("long", [True], indirect=True)
@pytest.mark.skipif(DEVICE == "cuda", reason="a compiled kernel keeps the constant")
@pytest.mark.parametrize("deviations", [0.0, pytest.param(1e3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if "section" in family.kernel.__qualname__])
def test_wrong_guesses_cost_nothing_but_time(name, deviations, long, monkeypatch):
    """Where the multiplier is never in its bracket, and where all entries would be listed."""
    monkeypatch.setattr(section_passes, "_DEVIATIONS", tl.constexpr(deviations))
    monkeypatch.setattr(section_passes, "_FEW", tl.constexpr(0))
    check(FAMILIES[name], points(1, 100, scale=0.1))


@pytest.mark.parametrize("long", [False, SLOW], indirect=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_strides(name, long):
    """Transposed, sliced and expanded points, and gradients of other strides."""
    wide = points(40, 80)
    for v in (wide[:40, :3].T, wide[3:5, 1:80:2], wide[:1, :40].expand(2, 40), wide[:2, :1].expand(2, 40)):
        g = wide[-len(v) :, -40:]
        results = FAMILIES[name].kernel(v, g), FAMILIES[name].kernel(v.contiguous(), g.contiguous())
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("long", [False, SLOW], indirect=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_ties(name, long):
    """All entries equal; integers; zeros."""
    integers = points(2, 40).round()
    for v in (torch.full_like(integers, 0.3), integers, torch.zeros_like(integers)):
        g = torch.randn(v.shape, dtype=v.dtype).to(v)
        y, pulled = FAMILIES[name].kernel(v, g)
        torch.testing.assert_close(y, FAMILIES[name].plain(v), atol=1e-11, rtol=0)
        assert pulled.isfinite().all()
        assert (pulled * g).sum() <= (g * g).sum() * (1 + 1e-9), "the Jacobian's eigenvalues are at most 1"


@pytest.mark.parametrize("long", [False, SLOW], indirect=True)
@pytest.mark.parametrize("name", FAMILIES)
def test_nan_rows(name, long):
    """A row with NaN is NaN (of a box, only the entry), and harms no other row."""
    v = points(3, 40)
    good = FAMILIES[name].kernel(v, v)
    v = v.clone()
    v[1, 35], v[2, 0] = torch.nan, torch.nan
    y, pulled = FAMILIES[name].kernel(v, v.nan_to_num())
    wrong = v.isnan() if "box" in name else v.isnan().any(-1, keepdim=True).expand(v.shape)
    assert torch.equal(y.isnan(), wrong)
    assert torch.equal(y[0], good[0][0])
    assert torch.equal(pulled[0], good[1][0])


@pytest.mark.parametrize("long", [False, True], indirect=True)
def test_minus_infinity_is_never_in_the_support(long):
    v = points(2, 40, scale=0.1)
    masked = torch.arange(40, device=DEVICE) % 3 == 0
    y, _ = FAMILIES["simplex"].kernel(v.masked_fill(masked, -torch.inf), v)
    expected = FAMILIES["simplex"].plain(v[:, ~masked])
    torch.testing.assert_close(y[:, ~masked], expected, atol=1e-12, rtol=0)
    assert (y[:, masked] == 0).all()


@pytest.mark.parametrize("long", [False, SLOW], indirect=True)
def test_bounds_may_be_infinite(long):
    def some(value, sign):
        return lambda v: torch.where(torch.arange(v.shape[-1], device=v.device) % 3 == 0, sign * torch.inf, value)[None]

    low, high, none = some(-0.25, -1), some(0.25, 1), lambda v: torch.full((1, v.shape[-1]), -torch.inf).to(v)
    v = points(2, 40)
    for lower, upper in ((low, None), (none, None), (low, high), (None, high), (none, high)):
        check(section(lower=lower, upper=upper, low=total(1.0)), v)
    check(section(lower=constant(-torch.inf), low=total(1.0)), v)


@pytest.mark.parametrize("shape", [(0, 5), (0, 100_003)])
@pytest.mark.parametrize("name", FAMILIES)
def test_empty_batches(name, shape):
    v = torch.zeros(shape, device=DEVICE)
    y, pulled = FAMILIES[name].kernel(v, v)
    assert y.shape == pulled.shape == shape


@pytest.mark.parametrize("long", [False, SLOW], indirect=True)
def test_rows_of_data_take_turns(long):
    v, g = points(6, 40), points(6, 40).flip(0)
    lower, upper, normal = (
        pattern(a, b, rows=True)(v[:k]) for a, b, k in ((1.0, -2.0, 2), (1.0, 0.5, 3), (0.5, 0.5, 2))
    )
    low, radii = v.new_tensor([-3.0, 1.0, 2.0]), v.new_tensor([1.0, 2.0])

    def all_of(t):
        return t.repeat(6 // len(t), *[1] * (t.ndim - 1))

    results = []
    for take in (lambda t: t, all_of):
        a, b, c, total, r = (take(t) for t in (normal, lower, upper, low, radii))
        y, tight = box_section.project(v, a, b, c, Range.fixed(total))
        z, starts = isotonic.project(v, a)
        outside, norm = l2_ball.project(v, r)
        results.append([y, box_section.pull(g, y, tight, a, b, c), box.project(v, b, c), l1_ball.project(v, a, r)[0]])
        results[-1] += [z, isotonic.pull(g, starts, a), outside, l2_ball.pull(g, v, norm, r)]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_which_totals_are_active():
    """A total exactly at its bound is active."""
    v = torch.tensor([[0.5, 0.25], [0.5, 0.5], [1.0, 1.0]], device=DEVICE)
    y, tight = box_section.project(v, None, v.new_zeros(1, 2), None, Range(None, v.new_ones(1)))
    assert tight.tolist() == [False, True, True]
    assert y.tolist() == [[0.5, 0.25], [0.5, 0.5], [0.5, 0.5]]
    assert l1_ball.project(-v, None, v.new_ones(1))[1].tolist() == [False, True, True]


def test_availability():
    assert gpu.is_installed()
    assert not gpu.available(torch.zeros(3))
    if DEVICE == "cuda":
        assert gpu.available(torch.zeros(3, device=DEVICE))
        assert not gpu.available(torch.zeros(3, dtype=torch.int64, device=DEVICE))
