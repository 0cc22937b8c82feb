"""Laws of agreement: with CVXPY, and with the general solver."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import torch

from optlayers.testing.cases import Case
from optlayers.testing.law import assert_close, law, scale_of

_REFERENCE = 1e-6  # the accuracy of CVXPY with Clarabel
_TWO_ROUTES = 1e-8  # to which a closed form and the general solver agree


@law
def agrees_with_cvxpy(case: Case) -> None:
    """The answer is that of CVXPY with Clarabel, as far as Clarabel's accuracy goes.

    Clarabel may stop early on one way to write the distance; then the other one decides.
    """
    point = cp.Parameter(case.shape)
    objectives = (cp.sum_squares(case.variable - point), cp.norm(cp.vec(case.variable - point, order="C")))
    for row in case.random_points(3):
        point.value, y = row.numpy(), case.project(row)
        for last, objective in enumerate(objectives):
            problem = cp.Problem(cp.Minimize(objective), case.constraints)
            with warnings.catch_warnings():  # Clarabel stops a little short of such tolerances, and says so
                warnings.simplefilter("ignore", UserWarning)
                problem.solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
            expected = torch.as_tensor(np.asarray(case.variable.value), dtype=torch.float64)
            scale = scale_of(row, expected)
            if last or float((y - expected).abs().max()) <= _REFERENCE * scale:
                assert_close(y, expected, scale, _REFERENCE)
                break


@law
def agrees_with_general_solver(case: Case) -> None:
    """The answer, and its derivatives, are those of the general solver: two routes that share no formula."""
    if case.feasible_set.method == "general":
        return
    other = case.on_general_solver()
    v, values = case.random_points(), case.values()
    leaves = [t.requires_grad_() for t in (v, *values)]
    results = []
    for project in (case.project, other.project):
        y = project(v, *values)
        weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
        results.append([y, *torch.autograd.grad((y * weight).sum(), leaves)])
    for one, another in zip(*results, strict=True):
        assert_close(one, another, scale_of(v, one), _TWO_ROUTES)


@law
def knows_when_it_is_empty(case: Case) -> None:
    """With its parameters changed at random, the set is said to be empty just where CVXPY finds it so."""
    rng = np.random.default_rng(0)
    originals = [np.asarray(p.value) for p in case.parameters]
    lenient, nearest = case.make("nan"), case.make("nearest")
    point = torch.zeros(case.shape, dtype=torch.float64)
    try:
        for trial in range(8 if case.parameters else 0):
            for parameter, original in zip(case.parameters, originals, strict=True):
                changed = rng.random() < 0.5
                parameter.value = original + changed * rng.normal(size=original.shape) * (1 + trial)
            problem = cp.Problem(cp.Minimize(0), case.constraints)
            problem.solve(cp.CLARABEL)
            values = case.values()
            solved = bool(lenient.bind(*values).solve(point).solved)
            assert solved == (problem.status != cp.INFEASIBLE), f"{problem.status}, but solved={solved} at {values}"
            assert bool(nearest.bind(*values).project(point).isfinite().all())
    finally:
        for parameter, original in zip(case.parameters, originals, strict=True):
            parameter.value = original
