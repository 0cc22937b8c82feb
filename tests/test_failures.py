"""Empty sets and bad samples: which constraints and which rows are named, and what each policy does."""

import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, InfeasibleError, ProjectionLayer, Status


def with_auxiliary(constraints):
    return constraints(cp.Variable())


@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        (lambda w: [w >= 1, w[0] + w[1] <= 5, w <= 0.5], ["constraint 0", "constraint 2"]),
        (lambda w: [w >= 0, cp.sum(w) == -1], ["constraint 0", "constraint 1"]),
        (lambda w: [w <= 0.1, cp.sum(w) == 1, w[0] <= 5], ["constraint 0", "constraint 1"]),
        (lambda w: [cp.sum(w) == 1, 2 * cp.sum(w) == 3], ["constraint 0", "constraint 1"]),
        (
            lambda w: [w[0] + w[1] == 1, w[1] + w[2] == 1, w[0] - w[2] == 1],
            ["constraint 0", "constraint 1", "constraint 2"],
        ),
        (
            lambda w: [w[0] == 1, w[1] == 2, w[0] + w[1] == 4, w[2] >= 0],
            ["constraint 0", "constraint 1", "constraint 2"],
        ),
        (lambda w: [cp.norm(w) <= -1], ["constraint 0"]),
        (lambda w: [cp.sum_squares(w) <= -1], ["constraint 0"]),
        (lambda w: [w >= np.inf], ["constraint 0"]),
        (lambda w: [cp.sum(w) <= 1, cp.sum(w) >= 2], ["constraint 0", "constraint 1"]),
        (lambda w: [w >= 0, w <= 1, cp.sum(w) <= 1, cp.sum(w) >= 2], ["constraint 2", "constraint 3"]),
        (
            lambda w: [w[0] <= 5, w[0] >= 5, w[1:] >= 0, cp.sum(w) <= 3],
            ["constraint 1", "constraint 2", "constraint 3"],
        ),
        (lambda w: [cp.Constant(1) <= 0, w >= 0], ["constraint 0"]),
        (lambda w: [w[0] == 2, cp.norm(w) <= 1], ["constraint 0", "constraint 1"]),
        (
            lambda w: [w[:2] == [3, 4], w[2] == 0, cp.sum_squares(w) <= 4],
            ["constraint 0", "constraint 2"],
        ),
        (
            lambda w: [w[0] == 2 * w[1], w[1] == w[2], w[0] <= 1, w[1] >= 3],
            ["constraint 0", "constraint 2", "constraint 3"],
        ),
        (lambda w: [w[0] == 2, w >= 0, cp.sum(w) == 1], ["constraint 0", "constraint 1", "constraint 2"]),
        (lambda w: with_auxiliary(lambda t: [cp.norm(w) <= t, t >= 2, t <= 1]), ["constraint 1", "constraint 2"]),
        (lambda w: with_auxiliary(lambda t: [w >= 0, cp.norm(t) <= 1, t >= 10]), ["constraint 1", "constraint 2"]),
        (lambda w: [w >= 1, cp.norm1(w) <= 1], ["constraint 0", "constraint 1"]),
        (lambda w: [w >= 0, w <= 1, cp.norm(w - 5) <= 1], ["constraint 1", "constraint 2"]),
        (lambda w: [w >= 0, w[0] >= 2, cp.norm(w) <= 1], ["constraint 1", "constraint 2"]),
        (lambda w: [w >= 0, w <= 1, cp.norm(w) <= -1], ["constraint 2"]),
        (lambda w: [cp.sum(w) >= 5, cp.sum(w) <= 9, cp.norm(w) <= 1], ["constraint 0", "constraint 2"]),
        (lambda w: [cp.sum(w) >= 1, cp.sum(w) <= 9, cp.norm(w) <= -1], ["constraint 2"]),
        (lambda w: [w[0] + w[1] == 1, w[1] + w[2] == 1, cp.norm(w) <= -1], ["constraint 2"]),
        (lambda w: [w >= 0, w <= 1, cp.sum(w) >= 4, cp.sum(w) <= 5], ["constraint 1", "constraint 2"]),
    ],
)
def test_empty_sets_name_the_constraints_at_fault(w, constraints, named):
    with pytest.raises(InfeasibleError) as info:
        FeasibleSet(constraints(w), w)
    assert [label.split(" (")[0] for label in info.value.constraints] == named
    assert all(name in str(info.value) for name in named)
    assert "together" in str(info.value) or len(named) == 1
    copy = pickle.loads(pickle.dumps(info.value))
    assert copy.constraints == info.value.constraints


def test_empty_for_some_samples(capped):
    v, caps, totals = torch.randn(4, 3), torch.full((3,), 0.5), torch.tensor([1.0, 2.0, 1.5, 9.0])
    with pytest.raises(InfeasibleError, match=r"2 of 4 samples \(rows 1, 3\)") as info:
        capped()(v, caps, totals)
    assert info.value.rows == (1, 3)
    good = capped()(v[[0, 2]], caps, totals[[0, 2]])
    for policy in ("warn", "nan"):
        layer = capped(on_failure=policy)
        if policy == "warn":
            with pytest.warns(RuntimeWarning, match="rows 1, 3"):
                y = layer(v, caps, totals)
        else:
            y = layer(v, caps, totals)
        assert bool(y[[1, 3]].isnan().all())
        assert torch.equal(y[[0, 2]], good)
    y = capped(on_failure="nearest")(v, caps, totals)
    assert torch.equal(y[[0, 2]], good)
    torch.testing.assert_close(y[1], torch.full((3,), 0.5 + 0.5 / 4))  # least squares of 3 caps and the total
    solution = capped(on_failure="nan").solve(v, caps, totals)
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED, Status.INFEASIBLE]
    v[2] = torch.nan
    assert capped(on_failure="nan").solve(v, caps, totals).status.tolist() == [0, 1, Status.INVALID, 1]


def test_nan_in_a_parameter_is_its_samples_affair(capped):
    totals = torch.tensor([1.0, torch.nan, 9.0])
    with pytest.raises(ValueError, match=r"1 of 3 samples \(row 1\)"):
        capped()(torch.zeros(3), torch.ones(3), totals)
    y = capped(on_failure="nan")(torch.zeros(3), torch.ones(3), totals)
    assert y.isnan().any(-1).tolist() == [False, True, True]
    torch.testing.assert_close(y[0], torch.full((3,), 1 / 3))


def test_bad_samples_do_not_spoil_gradients(capped):
    v = torch.randn(3, 3)
    v[1] = torch.nan
    v.requires_grad_()
    totals = torch.tensor([1.0, 1.0, 9.0], requires_grad=True)
    y = capped(on_failure="nan")(v, torch.ones(3), totals)
    y[0].square().sum().backward()
    assert bool(v.grad.isfinite().all())
    assert bool(totals.grad.isfinite().all())


def test_nearest_point_of_a_constant_empty_set(w):
    layer = ProjectionLayer([w >= 1, w <= 0], on_failure="nearest")
    torch.testing.assert_close(layer(torch.randn(2, 3)), torch.full((2, 3), 0.5))
    assert bool(ProjectionLayer([w >= 1, w <= 0], on_failure="nan")(torch.zeros(3)).isnan().all())


def test_reference_failures_are_reported_per_sample(w):
    p = cp.Parameter(name="p")
    layer = ProjectionLayer([cp.norm1(w) <= p], method="cvxpylayers", on_failure="nan")
    y = layer(torch.ones(3, 3, dtype=torch.float64), torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    assert y.isnan().any(-1).tolist() == [False, True, False]
    torch.testing.assert_close(y[0], torch.full((3,), 1 / 3, dtype=torch.float64), rtol=0, atol=1e-4)
    with pytest.raises(InfeasibleError, match=r"row 1") as info:
        ProjectionLayer([cp.norm1(w) <= p], method="cvxpylayers")(torch.ones(3, 3), torch.tensor([1.0, -1.0, 2.0]))
    assert info.value.rows == (1,)
    with pytest.raises(ValueError, match="on_failure='nearest' needs another method than 'cvxpylayers'"):
        ProjectionLayer([cp.norm1(w) <= p], method="cvxpylayers", on_failure="nearest")


def test_conditions_on_parameters_alone(w):
    p = cp.Parameter(2, name="p")
    layer = ProjectionLayer([w >= 0, cp.norm(p) <= 1, p[0] <= p[1]])
    layer(torch.zeros(3), torch.tensor([0.5, 0.6]))
    with pytest.raises(InfeasibleError, match="constraint 1"):
        layer(torch.zeros(3), torch.tensor([3.0, 4.0]))
    with pytest.raises(InfeasibleError, match="constraint 2"):
        layer(torch.zeros(3), torch.tensor([0.5, 0.1]))
    layer = ProjectionLayer([w >= 0, cp.norm1(p) <= 1], on_failure="nan")  # with auxiliary entries
    solution = layer.solve(torch.zeros(3), torch.tensor([[0.5, -0.5], [0.6, 0.5]]))
    assert solution.status.tolist() == [Status.SOLVED, Status.INFEASIBLE]
    assert solution.value.isnan().any(-1).tolist() == [False, True]


def test_rows_are_numbered_in_the_whole_batch(capped):
    v = torch.zeros(4, 3)
    v[0] = torch.nan
    totals = torch.tensor([1.0, 1.0, 9.0, -1.0])
    with pytest.warns(RuntimeWarning) as record:
        y = capped(on_failure="warn")(v, torch.ones(3), totals)
    (warning,) = record
    assert warning.filename == __file__
    message = str(warning.message)
    assert "parameter total must be nonnegative; it is not in 1 of 4 samples (row 3)" in message
    assert "NaN or infinite in 1 of 4 samples (row 0)" in message
    assert "the set is empty for 1 of 4 samples (row 2)" in message
    assert y.isnan().any(-1).tolist() == [True, False, True, True]


def test_every_conflict_is_named():
    x, p, q = cp.Variable(4), cp.Parameter(), cp.Parameter()
    constraints = [x >= 0, cp.sum(x[:2]) == p, cp.sum(x[2:]) == q]
    with pytest.raises(InfeasibleError) as info:
        ProjectionLayer(constraints, x, [p, q])(torch.zeros(2, 4), torch.tensor([-1.0, 1.0]), torch.tensor([1.0, -1.0]))
    assert "row 0" in str(info.value)
    assert "row 1" in str(info.value)
    assert len(info.value.constraints) == 3


def test_conditions_are_relative_to_their_terms(w):
    p = cp.Parameter(3)
    value = torch.rand(1000, 3) + 0.1
    value = value * (1000 / value.sum(-1, keepdim=True))
    ProjectionLayer([w == p, cp.sum(w) == 1000])(torch.zeros(3), value)


def test_without_validation_bad_samples_are_nan(capped):
    v, totals = torch.zeros(3, 3), torch.tensor([1.0, 9.0, 1.0])
    v[2] = torch.nan
    y = capped(validate=False)(v, torch.ones(3), totals)
    assert y.isnan().any(-1).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (lambda x, low, high, a, b: [x >= low, x <= high], ([1, 0, 0, 2], [0, 1, 1, 1], 0, 0)),
        (lambda x, low, high, a, b: [x >= low, x <= high, cp.sum(x) == a], ([0, 0, 0, 0], [1, 1, 2, 1], 7, 0)),
        (lambda x, low, high, a, b: [x >= low, x <= high, cp.sum(x) >= a], ([0, 0, 0, 0], [1, 1, 2, 1], 7, 0)),
        (lambda x, low, high, a, b: [x >= low, x <= high, cp.sum(x) == a], ([1, 0, 0, 0], [0, 1, 2, 1], 2, 0)),
        (lambda x, low, high, a, b: [cp.sum(x) >= a, cp.sum(x) <= b], ([0] * 4, [0] * 4, 3, 1)),
        (
            lambda x, low, high, a, b: [np.array([1, 2, -1, 0.5]) @ x == a, x >= low, x <= high],
            ([0] * 4, [1] * 4, 9, 0),
        ),
    ],
)
def test_closed_forms_have_exact_derivatives_at_least_infeasible_points(build, values):
    x, low, high, a, b = cp.Variable(4), cp.Parameter(4), cp.Parameter(4), cp.Parameter(), cp.Parameter()
    constraints = build(x, low, high, a, b)
    ids = {parameter.id for constraint in constraints for parameter in constraint.parameters()}
    given = [pair for pair in zip((low, high, a, b), values, strict=True) if pair[0].id in ids]
    layer = ProjectionLayer(constraints, parameters=[p for p, _ in given], on_failure="nearest")
    assert layer.method == "closed_form"
    tensors = [torch.tensor(value, dtype=torch.float64).requires_grad_() for _, value in given]
    v = torch.tensor([0.3, -0.8, 0.6, 1.7], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, (v, *tensors))
