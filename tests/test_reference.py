"""The reference method, and the comparison of methods."""

import copy

import cvxpy as cp
import pytest
import torch

from optlayers import FeasibleSet, ProjectionLayer, compare
from optlayers.comparison import Comparison


def both(build, *shapes):
    sets = []
    for method in ("auto", "cvxpylayers"):
        x = cp.Variable(4, name="x")
        parameters = [cp.Parameter(shape, name=f"p{k}") for k, shape in enumerate(shapes)]
        sets.append(FeasibleSet(build(x, *parameters), x, parameters, method=method))
    return sets


def test_agrees_with_the_closed_form_in_value_and_gradient():
    exact, reference = both(lambda x, p, q: [x >= 0, x <= p, cp.sum(x) == q], (4,), ())
    assert (exact.method, reference.method) == ("closed_form", "cvxpylayers")
    v = torch.tensor([[0.9, 0.5, -0.3, 0.1], [0.2, 0.3, 0.8, -2.0]], dtype=torch.float64)
    gradients = []
    for feasible_set in (exact, reference):
        leaves = [v.clone().requires_grad_(), torch.full((4,), 0.6, dtype=torch.float64).requires_grad_()]
        leaves.append(torch.tensor([1.0, 1.1], dtype=torch.float64).requires_grad_())
        y = feasible_set.bind(*leaves[1:]).project(leaves[0])
        gradients.append([y, *torch.autograd.grad((y * torch.arange(4.0)).sum(), leaves)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [(), (2,), (2, 1), (0,), (2, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_and_dtypes_are_repaired(batch, dtype):
    _, reference = both(lambda x, p: [cp.norm1(x) <= p], ())
    v = torch.ones(*batch, 4, dtype=dtype)
    y = reference.bind(torch.tensor(1.0, dtype=dtype)).project(v)
    assert y.shape == v.shape
    assert y.dtype == dtype
    torch.testing.assert_close(y, v / 4, rtol=0, atol=1e-4)


def test_it_takes_every_block_when_it_is_asked_for():
    x, y = cp.Variable(3, name="x"), cp.Variable(4, name="y")
    feasible_set = FeasibleSet([cp.norm1(x) <= 1, y >= 0, cp.sum(y) == 1], [x, y], method="cvxpylayers")
    assert "simplex" not in feasible_set.explain()
    (piece,) = feasible_set.compiled.general
    assert [v.name() for v in piece.variables][:2] == ["x", "y"]
    a, b = feasible_set.project(torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 4, dtype=torch.float64))
    torch.testing.assert_close(a, torch.full((2, 3), 1 / 3, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(b, torch.full((2, 4), 0.25, dtype=torch.float64), rtol=0, atol=1e-4)


def test_attributed_variables():
    x = cp.Variable((2, 2), PSD=True)
    y = FeasibleSet([], x, method="cvxpylayers").project(torch.tensor([[1.0, 2.0], [0.0, -3.0]], dtype=torch.float64))
    values, vectors = torch.linalg.eigh(torch.tensor([[1.0, 1.0], [1.0, -3.0]], dtype=torch.float64))
    torch.testing.assert_close(y, vectors @ torch.diag(values.clamp_min(0)) @ vectors.T, rtol=0, atol=1e-4)


def test_compare_prints_a_table_and_returns_its_numbers(capsys):
    w = cp.Variable(6, name="w")
    cap = cp.Parameter(name="cap")
    layer = ProjectionLayer([w >= 0, cp.sum(w) == 1, w <= cap])
    comparison = compare(layer, torch.randn(5, 6, dtype=torch.float64), cap=torch.tensor(0.4), seconds=0.0)
    assert isinstance(comparison, Comparison)
    assert [result.method for result in comparison.results] == ["closed_form", "general", "cvxpylayers"]
    exact, general, reference = comparison.results
    assert exact.value_difference < 1e-4
    assert exact.gradient_difference < 1e-3
    assert exact.violation < 1e-9
    assert general.value_difference < 1e-4
    assert reference.value_difference == 0
    assert 0 < exact.forward < reference.forward
    assert capsys.readouterr().out.strip() == str(comparison)


def test_compare_takes_several_variables_and_general_sets():
    x, y = cp.Variable(2), cp.Variable(3)
    layer = ProjectionLayer([cp.norm1(x) + cp.sum(y) <= 1], [x, y])
    comparison = compare(layer, torch.ones(2, 2), torch.ones(2, 3), seconds=0.0)
    assert [result.method for result in comparison.results] == ["general", "cvxpylayers"]
    assert comparison.results[0].value_difference < 1e-4


@pytest.mark.parametrize(("method", "atol"), [("general", 1e-9), ("cvxpylayers", 1e-4)])
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda x, t, z: [z == 2 * x, cp.norm1(z) <= 1], [0.0, 0.0, 0.0, 0.5]),
        (lambda x, t, z: [cp.norm1(x) <= t, t <= 1], [0.0, 0.0, 0.0, 1.0]),
        (lambda x, t, z: [x[0] == 1, cp.norm1(x) <= 2], [1.0, 0.0, 0.0, 1.0]),
        (lambda x, t, z: [x[0] >= 1, x[0] <= 1, cp.norm1(x) <= 2], [1.0, 0.0, 0.0, 1.0]),
    ],
)
def test_substituted_constraints_still_count(build, expected, method, atol):
    x, t, z = cp.Variable(4), cp.Variable(), cp.Variable(4)
    feasible_set = FeasibleSet(build(x, t, z), x, method=method)
    y = feasible_set.project(torch.tensor([1.5, -2.0, 0.7, 3.0], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=atol)
    assert not feasible_set.contains(torch.full((4,), 9.0, dtype=torch.float64))


def test_deep_copies_project():
    w, p = cp.Variable(3), cp.Parameter()
    layer = ProjectionLayer([cp.norm1(w) <= p], method="cvxpylayers")
    for _ in range(2):
        y = copy.deepcopy(layer)(torch.ones(3), 1.0)
        torch.testing.assert_close(y, torch.full((3,), 1 / 3), rtol=0, atol=1e-4)
        layer(torch.ones(3), 1.0)
