"""Messages name what is at fault, in words a reader can use, and stay short however large the set is."""

import re

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError, NotConvexError, ProjectionLayer, WarmStarts

ROWS = np.random.default_rng(0).normal(size=(98, 20))


@pytest.mark.parametrize(
    "variable", [cp.Variable(3, complex=True), cp.Variable(3, imag=True), cp.Variable((3, 3), hermitian=True)], ids=str
)
def test_variables_that_are_not_real_are_not_told_to_relax_booleans(variable):
    with pytest.raises(NotConvexError, match="real and imaginary parts") as caught:
        FeasibleSet([cp.abs(variable) <= 1])
    assert "boolean" not in str(caught.value)


def test_what_is_no_list_of_constraints():
    x = cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum(x)), [x >= 0])
    for wrong in (problem, [problem]):
        with pytest.raises(ValueError, match=r"CVXPY problem; pass its constraints, `problem\.constraints`"):
            FeasibleSet(wrong)
    with pytest.raises(ValueError, match=r"constraints\[1\] is a tensor.*cp\.Parameter"):
        FeasibleSet([x >= 0, torch.ones(2, requires_grad=True) >= 0])
    with pytest.raises(ValueError, match="0 variables: say which one to project"):
        FeasibleSet([])


def test_tensors_without_numbers():
    x, p = cp.Variable(4, name="x"), cp.Parameter(4, name="p")
    feasible_set, v = FeasibleSet([x <= p]), torch.eye(4)
    for tensor, message in ((v.to_sparse(), "dense tensor, got torch.sparse_coo"), (v.to("meta"), "device meta")):
        with pytest.raises(ValueError, match=f"variable x: .*{message}"):
            feasible_set.bind(v).project(tensor)
        with pytest.raises(ValueError, match=f"parameter p: .*{message}"):
            feasible_set.bind(tensor).project(v)


def test_sample_counts_that_clash_are_named():
    x, p, q = cp.Variable(4, name="x"), cp.Parameter(4, name="p"), cp.Parameter(name="q")
    feasible_set = FeasibleSet([x <= p, cp.sum(x) <= q])
    with pytest.raises(ValueError, match="2 samples of x against 3 samples of p"):
        feasible_set.bind(torch.ones(3, 4), 1.0).project(torch.ones(2, 4))
    with pytest.raises(ValueError, match="7 samples of p against 5 samples of q"):
        feasible_set.bind(torch.ones(7, 1, 4), torch.ones(5, 3)).project(torch.ones(1, 1, 4))


def test_constraints_read_as_they_are_written():
    x = cp.Variable(20, name="x")
    constraints = [x >= 0, cp.sum(x) == 1, cp.norm(x, 3) <= 2, ROWS[0] @ x <= 0.25, ROWS @ x <= 2.5, x[1] <= 1.05]
    text = FeasibleSet(constraints).explain()
    for words in (
        "(x >= 0)",
        "(Sum(x, None, False) == 1)",
        "(pnorm(x, 3) <= 2)",
        "@ x <= 0.25)",
        "@ x <= 2.5)",
        "1.05)",
    ):
        assert words in text
    assert "Approx" not in text


@pytest.mark.parametrize("count", [98, 3000])
def test_explanations_fit_on_a_page(count):
    x = cp.Variable(20, name="x")
    rows = np.random.default_rng(0).normal(size=(count, 20))
    general = FeasibleSet([row @ x <= 1 for row in rows[:98]]).explain()
    many = FeasibleSet([x[k % 20] <= x[(k + 1) % 20] + k for k in range(count)], x).explain()
    y = cp.Variable(count)
    apart = FeasibleSet([cp.norm(y[k : k + 2], 3) <= k + 1 for k in range(0, min(count, 98), 2)], y).explain()
    for text in (general, many, apart):
        assert len(text.splitlines()) <= 60
        assert len(text) <= 6000
        assert max(map(len, text.splitlines())) <= 600
    assert "89 more" in general


def test_conflicts_of_many_constraints_are_short():
    x = cp.Variable(40)
    with pytest.raises(InfeasibleError, match="more together") as caught:
        FeasibleSet([*(x[k] >= 1 for k in range(40)), cp.sum(x) <= 1], x)
    assert len(str(caught.value)) < 1500
    assert len(caught.value.constraints) == 41


def test_solutions_print_in_one_line():
    x = cp.Variable(4)
    solution = FeasibleSet([x >= 0, cp.sum(x) == 1]).solve(torch.randn(1000, 4))
    text = r"Solution\(value \(1000, 4\) float32, 1000 of 1000 samples solved, residual <= \S+, steps <= 0\)"
    assert re.fullmatch(text, repr(solution))


def test_warm_starts_of_another_set():
    x = cp.Variable(20)
    few, many = (FeasibleSet([cp.norm(x) <= 1, ROWS[:k] @ x <= 0.1]) for k in (3, 5))
    v, starts = torch.randn(4, 20), WarmStarts(4)
    starts[range(4)] = few.solve(v)
    with pytest.raises(ValueError, match="solutions are of another set"):
        starts[range(4)] = many.solve(v)


def test_without_validation_bad_samples_are_left_out_in_silence():
    x, p = cp.Variable(4), cp.Parameter()
    v = torch.tensor([[0.3, 0.4, 5.0, -1.0], [torch.nan, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    layer = ProjectionLayer([x >= 0, cp.sum(x) == p], validate=False)
    y = layer(v, torch.tensor([1.0, 1.0, -1.0]))
    assert y[0].tolist() == [0, 0, 1, 0]
    assert y[1:].isnan().all()
    assert layer.solve(v, 1.0).status.tolist() == [0, 2, 0]
