"""Laws of agreement: with CVXPY, and with the general solver."""

import cvxpy as cp
import numpy as np
import torch

from optlayers.sets.transport_plan import TransportPlan
from optlayers.testing.cases import Case
from optlayers.testing.extended_precision import project_precisely
from optlayers.testing.law import assert_close, law, scale_of, value_and_gradients
from optlayers.testing.outside import Support, least_violation

_CLOSED_FORMS = 1e-11  # the accuracy of closed forms at ordinary points
_REFERENCE = 1e-5  # that of CVXPY with Clarabel
_TWO_ROUTES = 1e-8  # to which a closed form and the general solver agree


@law("constants")
def agrees_with_extended_precision(case: Case) -> None:
    """The answer is the one in extended precision that starts from CVXPY's.

    At kinks and far away, Newton's method may not get there: there ``v - P(v)`` is in the normal cone at ``P(v)``, by
    the support function of the set near ``P(v)``, as far as CVXPY's accuracy goes.
    """
    undecided = 0
    ordinary, support = case.random_points(), Support(case.constraints, case.variable)
    is_closed = case.feasible_set.method == "closed_form"
    for number, row in enumerate(torch.cat([ordinary, case.special_points()])):
        y = case.project(row)
        expected, left = project_precisely(case.constraints, case.variable, row.numpy())
        scale = max(scale_of(row), float(np.abs(expected).max(initial=0)))
        allowed = _CLOSED_FORMS if is_closed and number < len(ordinary) else case.accuracy
        if left <= 0.01 * allowed:
            gap = float(np.abs(y.numpy() - expected).max(initial=0)) / scale
            assert gap <= allowed, f"differs by {gap:.2e} of the data from extended precision at {row}"
        else:
            step = support(y.numpy(), (row - y).numpy())
            undecided += step is None
            assert step is None or step <= _REFERENCE, f"the set goes on by {step:.2e} towards {row}"
    assert undecided <= 3, "Clarabel fails"


@law("parameters")
def agrees_with_constants(case: Case) -> None:
    """Data as parameters give what they give as constants, derivatives in the point included."""
    if case.constants is None:
        return
    v = torch.cat([case.random_points(), case.special_points()])
    (y, gradient), (expected, other) = (value_and_gradients(one.project, v) for one in (case, case.constants))
    for row, one, another in zip(v, y, expected, strict=True):
        assert_close(one, another, scale_of(row), case.repeatability)
    ordinary = len(case.random_points())  # at a kink, rounding may choose another side
    assert_close(gradient[:ordinary], other[:ordinary], 1.0, case.accuracy)


@law("parameters")
def agrees_with_general_solver(case: Case) -> None:
    """The answer, and its derivatives, are those of the general solver: two routes that share no formula."""
    if case.feasible_set.method == "general":
        return
    other = case.on_general_solver()
    v, values = case.random_points(), case.values()
    results = [value_and_gradients(project, v, *values) for project in (case.project, other.project)]
    for one, another in zip(*results, strict=True):
        assert_close(one, another, scale_of(v, one), _TWO_ROUTES)


@law("parameters")
def knows_when_it_is_empty(case: Case) -> None:
    """With its parameters changed at random, the set is said to be empty just where CVXPY finds it so.

    Of polyhedra, the nearest point then has the least squares of violations that CVXPY finds: of rows of unit length on
    the general solver, as they are written in closed forms. Transport plans keep their bounds: theirs is another.
    """
    rng = np.random.default_rng(0)
    originals = [np.asarray(p.value) for p in case.parameters]
    lenient, nearest, is_closed = case.make("nan"), case.make("nearest"), case.feasible_set.method == "closed_form"
    point = torch.zeros(case.shape, dtype=torch.float64)
    try:
        for trial in range(8 if case.parameters else 0):
            for parameter, original in zip(case.parameters, originals, strict=True):
                changed = rng.random() < 0.5
                parameter.value = original + changed * rng.normal(size=original.shape) * (1 + trial)
            problem = cp.Problem(cp.Minimize(0), case.constraints)
            problem.solve(cp.CLARABEL)
            is_empty = problem.status == cp.INFEASIBLE
            values = case.values()
            solved = bool(lenient.bind(*values).solve(point).solved)
            assert solved != is_empty, f"empty: {is_empty}, but solved: {solved} at {values}"
            y = nearest.bind(*values).project(point)
            assert bool(y.isfinite().all())
            if is_empty and case.kind is not TransportPlan:
                squares = least_violation(case.constraints, case.variable, y.numpy(), unit_rows=not is_closed)
                assert squares is None or squares[0] <= squares[1] * (1 + 1e-6) + 1e-9, f"violations, least: {squares}"
    finally:
        for parameter, original in zip(case.parameters, originals, strict=True):
            parameter.value = original
