"""Errors say what arrived, what was expected and what to do; nothing is silently wrong."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from optlayers import FeasibleSet, NotConvexError, NotParametrizedError, ProjectionLayer


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (lambda w: cp.norm(w) >= 1, "not convex by CVXPY's rules"),
        (lambda w: cp.square(cp.log(w)) <= 1, r"square|log"),
        (lambda w: cp.norm(w) == 1, "must be affine"),
        (lambda w: w[0] * w[1] <= 1, r"w\[0\] \* w\[1\]"),
    ],
)
def test_not_convex(w, constraint, message):
    with pytest.raises(NotConvexError, match=message) as info:
        FeasibleSet([w >= 0, constraint(w)])
    assert "constraint 1" in str(info.value)


@pytest.mark.parametrize("attribute", ["boolean", "integer"])
def test_discrete_variables_are_refused(attribute):
    with pytest.raises(NotConvexError, match=f"{attribute}=True"):
        FeasibleSet([], cp.Variable(3, name="z", **{attribute: True}))


def test_complex_and_finite_sets_are_refused(w):
    with pytest.raises(NotConvexError, match="only real"):
        FeasibleSet([], cp.Variable(3, complex=True))
    with pytest.raises(NotConvexError, match="finitely many"):
        FeasibleSet([cp.constraints.FiniteSet(w[0], [1, 2])], w)


@pytest.mark.parametrize(
    ("constraint", "rewrite"),
    [
        (lambda w, p, q: p[0] * q @ w <= 1, "declare one parameter"),
        (lambda w, p, q: p[0] * (q @ w) <= 1, "new parameter for the product"),
        (lambda w, p, q: w <= p * q[0], "declare one parameter"),
        (lambda w, p, q: cp.multiply(cp.square(p), w) <= 1, "declare one parameter"),
        (lambda w, p, q: cp.quad_form(w, cp.Parameter((3, 3), PSD=True)) <= 1, "sum_squares"),
        (lambda w, p, q: cp.norm(w) <= cp.norm(p), "declare a new parameter"),
    ],
)
def test_not_parametrized(w, constraint, rewrite):
    p, q = cp.Parameter(3, name="p"), cp.Parameter(3, name="q")
    with pytest.raises(NotParametrizedError, match=rewrite) as info:
        FeasibleSet([w >= 0, constraint(w, p, q)], w)
    assert "constraint 1" in str(info.value)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (torch.zeros(5, 4), r"variable w has shape \(3,\).*got \(5, 4\)"),
        (torch.tensor(1.0), r"got \(\)"),
        (torch.zeros(3, dtype=torch.int64), "floating-point"),
        (np.zeros(3), "expected a tensor, got ndarray"),
        (torch.tensor([0.0, torch.nan, 0.0]), "a point or a parameter is NaN or infinite in the point"),
        (torch.tensor([[0.0] * 3, [torch.inf] * 3, [0.0] * 3]), r"1 of 3 samples \(row 1\)"),
    ],
)
def test_wrong_points(w, point, message):
    with pytest.raises(ValueError, match=message):
        ProjectionLayer([w >= 0])(point)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "no value for the parameters cap, total"),
        ((torch.ones(3),), {}, "no value for the parameters total"),
        ((torch.ones(3), 1.0, 2.0), {}, "3 parameter values by position, but the set has 2"),
        ((torch.ones(3),), {"budget": 1.0}, "'budget' is not a parameter; the parameters are cap, total"),
        ((torch.ones(3), 1.0), {"total": 1.0}, "given twice"),
        ((torch.ones(4), 1.0), {}, r"parameter cap has shape \(3,\).*got \(4,\)"),
        ((torch.ones(3), torch.tensor([1.0, -1.0])), {}, r"parameter total must be nonnegative; it is not in 1 of 2"),
        ((torch.full((3,), torch.nan), 1.0), {}, "a point or a parameter is NaN or infinite in 2 of 2 samples"),
        ((torch.ones(3), None), {}, "parameter total: expected a tensor or numbers, got None"),
        ((torch.ones(3), "a"), {}, "parameter total: expected a tensor or numbers, got 'a'"),
        ((torch.ones(3), torch.tensor(1j)), {}, "expected real numbers"),
        (([torch.tensor(1.0)] * 3, 1.0), {}, "parameter cap: got a list of tensors"),
        ((torch.ones(3), torch.ones(5)), {}, r"batch dimensions do not fit together: w \(2,\), cap \(\), total \(5,\)"),
    ],
)
def test_wrong_parameters(capped, arguments, named, message):
    with pytest.raises(ValueError, match=message):
        capped()(torch.zeros(2, 3), *arguments, **named)


@pytest.mark.parametrize(
    ("attributes", "value", "message"),
    [
        ({"nonpos": True}, torch.eye(2), "be nonpositive"),
        ({"pos": True}, torch.zeros(2, 2), "be positive"),
        ({"neg": True}, torch.zeros(2, 2), "be negative"),
        ({"symmetric": True}, torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "be symmetric"),
        ({"PSD": True}, -torch.eye(2), "be positive semidefinite"),
        ({"NSD": True}, torch.eye(2), "be negative semidefinite"),
        ({"diag": True}, torch.ones(2, 2), "be diagonal"),
        ({"bounds": [0, 1]}, 2 * torch.ones(2, 2), "lie within its bounds"),
        ({"integer": True}, torch.full((2, 2), 0.5), "be integer"),
        ({"boolean": True}, torch.full((2, 2), 2.0), "be 0 or 1"),
    ],
)
def test_attributes_of_parameters_are_checked(attributes, value, message):
    x = cp.Variable((2, 2))
    p = cp.Parameter((2, 2), name="p", **attributes)
    with pytest.raises(ValueError, match=f"parameter p must {message}"):
        ProjectionLayer([x <= p])(torch.zeros(2, 2), value)


def test_attributed_parameters_are_used_entry_by_entry():
    x = cp.Variable((2, 2))
    p = cp.Parameter((2, 2), symmetric=True)
    value = torch.tensor([[1.0, 2.0], [2.0, 3.0]])
    assert torch.equal(ProjectionLayer([x <= p])(torch.full((2, 2), 9.0), value), value)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (lambda w: (w,), {}, "expected a list of CVXPY constraints, got Variable"),
        (lambda w: ([w],), {}, r"constraints\[0\] is an expression"),
        (lambda w: ([False],), {}, r"constraints\[0\] is False"),
        (lambda w: ([w >= 0, 3],), {}, r"constraints\[1\]: expected a CVXPY constraint, got 3"),
        (lambda w: ([],), {}, "0 variables"),
        (lambda w: ([w >= 0], [w, w]), {}, "distinct"),
        (lambda w: ([w >= 0], w[0]), {}, "expected CVXPY variables"),
        (lambda w: ([w >= 0], w, [cp.Parameter(name="extra")]), {}, "not in the constraints: extra"),
        (lambda w: ([w >= cp.Parameter(name="floor")], w, []), {}, "missing: floor"),
        (lambda w: ([w >= 0],), {"method": "fast"}, "method: expected one of 'auto'"),
        (lambda w: ([w >= 0],), {"on_failure": "ignore"}, "on_failure: expected one of 'raise'"),
        (lambda w: ([w >= np.nan],), {}, "NaN"),
        (lambda w: ([w == np.inf],), {}, "infinite"),
    ],
)
def test_wrong_declarations(w, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        FeasibleSet(*arguments(w), **options)


def test_values_of_the_users_objects_are_left_alone(w):
    p = cp.Parameter(name="p", value=7.0)
    w.value = np.zeros(3)
    ProjectionLayer([cp.norm1(w) <= p])(torch.ones(3), 1.0)
    ProjectionLayer([cp.norm1(w) <= 1])
    assert p.value == 7.0
    assert w.value.tolist() == [0.0, 0.0, 0.0]


def test_a_variable_without_entries():
    with pytest.raises(ValueError, match="no entry"):
        ProjectionLayer([cp.Variable(0) >= 0])


def test_what_the_reference_cannot_do_is_said(w):
    layer = ProjectionLayer([cp.norm1(w) <= 1], method="cvxpylayers")
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.func.vmap(layer)(torch.ones(2, 3))


def test_numbers_of_constraints_are_those_of_the_users_list(w):
    first = w >= 0
    with pytest.raises(NotConvexError, match="constraint 3"):
        FeasibleSet([first, first, True, cp.norm(w) >= 1])


@pytest.mark.parametrize("bound", [lambda p: p[0] * p, cp.square])
def test_bounds_that_are_not_parametrized(bound):
    p = cp.Parameter(3, name="p")
    with pytest.raises((NotParametrizedError, NotConvexError), match="bound of variable x"):
        FeasibleSet([], cp.Variable(3, name="x", bounds=[None, bound(p)]))
