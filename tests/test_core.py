"""The compiled core against the residual that judges all solvers, and against the solvers in torch."""

import importlib
import runpy

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, native
from optlayers.solvers import core

pytestmark = pytest.mark.skipif(not core.is_available(), reason="the core was not built: no compiler")
RNG = np.random.default_rng(0)


def barrier():
    u, a, b = cp.Variable(2, name="u"), cp.Parameter((4, 2), name="a"), cp.Parameter(4, name="b")
    values = torch.randn(40, 4, 2), torch.rand(40, 4)
    return FeasibleSet([u >= -1, u <= 1, a @ u <= b], u, [a, b], on_failure="nan").bind(
        *(t.double() for t in values)
    ), 40


def polyhedron():
    x, inside = cp.Variable(20, name="x"), RNG.normal(size=20)
    rows, equal = RNG.normal(size=(30, 20)), RNG.normal(size=(4, 20))
    return FeasibleSet(
        [rows @ x <= rows @ inside + RNG.uniform(size=30), equal @ x == equal @ inside], on_failure="nan"
    ), 40


def ellipsoid():
    x, form = cp.Variable(8, name="x"), RNG.normal(size=(8, 8))
    return FeasibleSet(
        [cp.norm(form @ x) <= 1, RNG.normal(size=(5, 8)) @ x <= 0.3, cp.norm1(x) <= 1], on_failure="nan"
    ), 20


def entropy():
    p = cp.Variable(6, nonneg=True, name="p")
    return FeasibleSet([cp.sum(p) == 1, cp.sum(cp.entr(p)) >= 1.2], on_failure="nan"), 20


def powers():
    x = cp.Variable(5, name="x")
    return FeasibleSet([cp.sum(cp.power(x, 3)) <= 5, x >= 0, cp.sum(x) >= 1], on_failure="nan"), 20


def correlations():
    x = cp.Variable((5, 5), PSD=True, name="x")
    return FeasibleSet([cp.diag(x) == 1], x, method="general", on_failure="nan"), 10


def singular_values():
    x = cp.Variable((4, 3), name="x")
    return FeasibleSet([cp.sigma_max(x) <= 1, cp.abs(x) <= 0.4], x, on_failure="nan"), 10


FAMILIES = [barrier, polyhedron, ellipsoid, entropy, powers, correlations, singular_values]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_its_answers_are_those_of_the_solvers_in_torch(family, monkeypatch):
    torch.manual_seed(0)
    feasible_set, samples = family()
    v = torch.randn(samples, *feasible_set.variables[0].shape, dtype=torch.float64).requires_grad_()
    solution = feasible_set.solve(v)
    assert bool(solution.solved.all())
    (gradient,) = torch.autograd.grad(solution.value.square().sum(), v)
    monkeypatch.setattr(core, "serves", lambda samples: False)
    other = feasible_set.solve(v)
    both = solution.solved & other.solved
    torch.testing.assert_close(solution.value[both], other.value[both], rtol=0, atol=1e-7)
    (expected,) = torch.autograd.grad(other.value.square().sum(), v)
    torch.testing.assert_close(gradient[both], expected[both], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_it_rarely_needs_help(family, monkeypatch):
    torch.manual_seed(1)
    feasible_set, samples = family()
    errors = []
    project = core.project

    def recorded(some, start=None):
        outputs = project(some, start)
        errors.append(outputs[2].clone())
        return outputs

    monkeypatch.setattr(core, "project", recorded)
    feasible_set.project(torch.randn(samples, *feasible_set.variables[0].shape, dtype=torch.float64))
    first = errors[0]
    assert len(first) == samples
    assert float((first <= 1e-10).double().mean()) >= 0.9


def test_empty_sets_and_points_without_answer_are_left_to_the_others():
    x = cp.Variable(3, name="x")
    b = cp.Parameter(name="b")
    feasible_set = FeasibleSet([cp.norm(x) <= b, x[0] + x[1] >= 2, x[2] >= x[0]], x, [b], on_failure="nan")
    radii = torch.tensor([1.0, 3.0], dtype=torch.float64)
    solution = feasible_set.bind(radii).solve(torch.zeros(2, 3, dtype=torch.float64))
    assert solution.status.tolist() == [1, 0]
    assert solution.value[0].isnan().all()
    assert solution.value[1].isfinite().all()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads):
    torch.manual_seed(0)
    feasible_set, _ = polyhedron()
    v = torch.randn(700, 20, dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = feasible_set.project(v)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(y, torch.cat([feasible_set.project(part) for part in v.split(100)]), rtol=0, atol=1e-9)


def test_cones_are_laid_out_as_the_core_reads_them():
    table = core.cone_table((("soc", (), 2, 4), ("pow", (0.3, 0.6), 2, 3)), 5)
    assert table["start"].tolist() == [5, 9, 13, 16]
    assert table["kind"].tolist() == [0, 0, 2, 2]
    assert table["alpha"].tolist() == [0.0, 0.0, 0.3, 0.6]


def test_without_it_everything_works_and_explain_says_so(monkeypatch):
    monkeypatch.setattr(core, "_core", None)
    assert not core.is_available()
    feasible_set, _ = ellipsoid()
    assert "the compiled core was not built" in feasible_set.explain()
    assert bool(feasible_set.solve(torch.randn(3, 8, dtype=torch.float64)).solved.all())


def test_a_core_of_another_version_is_left_out(monkeypatch):
    monkeypatch.setattr(importlib.import_module("optlayers._core"), "INTERFACE", 0)
    with pytest.warns(RuntimeWarning, match="built from another version's sources: install optlayers again"):
        other = runpy.run_path(native.__file__)
    assert other["compiled"] is None


def mixed_units(scale):
    """Sets of size `scale`, whose rows also hold numbers near one."""
    p, x, w = (cp.Variable(6, name=name) for name in "pxw")
    yield FeasibleSet([cp.sum(p) == scale, cp.sum(cp.entr(p / scale)) >= 1.3], on_failure="nan")
    yield FeasibleSet([cp.sum(cp.huber(x / scale, 0.3)) <= 1, x[0] >= x[1]], on_failure="nan")
    yield FeasibleSet([cp.sum(cp.power(w / scale, 3)) <= 1, w >= 0], on_failure="nan")


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_units_that_rows_mix_do_not_matter(scale):
    torch.manual_seed(0)
    v = 2 * torch.randn(8, 6, dtype=torch.float64)
    for one, other in zip(mixed_units(1.0), mixed_units(scale), strict=True):
        u, w = v.clone().requires_grad_(), (scale * v).requires_grad_()
        solution, scaled = one.solve(u), other.solve(w)
        assert bool(scaled.solved.all())
        torch.testing.assert_close(scaled.value / scale, solution.value, rtol=0, atol=1e-7)
        gradients = [torch.autograd.grad(s.value.square().sum(), t)[0] for s, t in ((solution, u), (scaled, w))]
        torch.testing.assert_close(gradients[1] / scale, gradients[0], rtol=0, atol=1e-5)


def test_no_answer_in_other_units_is_wrong_and_called_solved():
    x, y = cp.Variable(6, name="x"), cp.Variable(6, name="y")
    balls = [FeasibleSet([cp.norm1(z) / s + cp.sum_squares(z) / s**2 <= 1]) for z, s in ((x, 1.0), (y, 1e-9))]
    v = 2 * torch.randn(8, 6, dtype=torch.float64)
    balls[1].on_failure = "nan"
    expected, solution = balls[0].project(v), balls[1].solve(1e-9 * v)
    torch.testing.assert_close(1e9 * solution.value[solution.solved], expected[solution.solved], rtol=0, atol=1e-6)


def test_probabilities_that_vanish_are_solved():
    p = cp.Variable(10, nonneg=True, name="p")
    feasible_set = FeasibleSet([cp.sum(p) == 1, cp.sum(cp.entr(p)) >= 1.5], p)
    v = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 10)))
    y = feasible_set.project(v)
    assert float((torch.special.entr(y.clamp_min(0)).sum(-1) - 1.5).clamp_max(0).abs().max()) <= 1e-9
    assert float((y.sum(-1) - 1).abs().max()) <= 1e-9
    assert float(y[295].min().abs()) <= 1e-12
    variable = cp.Variable(10)
    for k in (13, 295):
        limits = [cp.sum(variable) == 1, cp.sum(cp.entr(variable)) >= 1.5]
        cp.Problem(cp.Minimize(cp.sum_squares(variable - v[k].numpy())), limits).solve(cp.CLARABEL)
        assert float(np.abs(variable.value - y[k].numpy()).max()) <= 1e-4
