"""Linear functions minimised over any set by CVXPY, sample by sample."""

from __future__ import annotations

import warnings
import weakref

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.errors import InfeasibleError, NotSolvedError
from optlayers.feasible_set import FeasibleSet
from optlayers.parametric.maps import Values
from optlayers.projection.compiled_set import CompiledSet

_PROBLEMS: weakref.WeakKeyDictionary[CompiledSet, tuple[cp.Problem, cp.Parameter]] = weakref.WeakKeyDictionary()


def minimise_by_cvxpy(feasible_set: FeasibleSet, g: Tensor, values: Values) -> Tensor:
    """Return minimisers of ``<g, s>``, for gradients ``(*batch, n)`` and parameter values that broadcast against them.

    Raises
    ------
    ValueError
        If there is no minimum.
    InfeasibleError, NotSolvedError
    """
    snapshot = feasible_set.snapshot
    (variable,) = snapshot.variables
    compiled = feasible_set.compiled
    if compiled not in _PROBLEMS:
        gradient = cp.Parameter(variable.shape)
        objective = cp.Minimize(cp.sum(cp.multiply(gradient, variable)))
        _PROBLEMS[compiled] = cp.Problem(objective, list(snapshot.constraints)), gradient
    problem, gradient = _PROBLEMS[compiled]
    batch = g.shape[:-1]
    data = [t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1]).double().cpu().numpy() for t in values.tensors]
    rows = g.reshape(-1, g.shape[-1]).double().cpu().numpy()
    scales = np.maximum(np.abs(rows).max(-1, keepdims=True), np.finfo(np.float64).tiny)
    found = []
    for number, row in enumerate(rows / scales):
        gradient.value = row.reshape(variable.shape)
        for parameter, numbers in zip(snapshot.parameters, data, strict=True):
            parameter.value = numbers[number].reshape(parameter.shape)
        found.append(_solve(problem, variable))
    return torch.as_tensor(np.array(found)).reshape(g.shape).to(g)


def _solve(problem: cp.Problem, variable: cp.Variable) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an inaccurate solution, which the status says too
        problem.solve()
    if problem.status in (cp.UNBOUNDED, cp.UNBOUNDED_INACCURATE):
        raise ValueError(
            "the set is not bounded in the direction asked for: add bounds, or project (project_after_step)"
        )
    if problem.status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
        raise InfeasibleError("The set is empty: no point satisfies its constraints.", ())
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE) or variable.value is None:
        raise NotSolvedError(f"the linear minimisation oracle: CVXPY reports the status {problem.status}")
    return np.asarray(variable.value).ravel()
