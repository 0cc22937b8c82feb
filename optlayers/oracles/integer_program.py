"""A feasible integer point by CVXPY, one mixed-integer linear program per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.error import SolverError

from optlayers.errors import NotSolvedError

_EXACT = {"HIGHS": {"mip_rel_gap": 0.0}, "SCIPY": {"scipy_options": {"mip_rel_gap": 0.0}}}


class IntegerProgram:
    """``argmin_x`` of a linear distance over integer points, by a solver of CVXPY.

    Where all entries are boolean, ``||x - v||^2`` to the input itself: it is linear, since ``x^2 = x``. Otherwise
    ``||x - y||_1`` to the projection `y` onto the relaxed set.

    Parameters
    ----------
    constraints, variables
        As declared, with their integer and boolean variables.
    parameters : list of cvxpy.Parameter
    all_boolean : bool
    solver : str, optional
        One that takes mixed-integer problems; the default is HiGHS.
    solver_options : dict, optional
        For `cvxpy.Problem.solve`; the default asks HiGHS for a relative gap of zero.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        *,
        all_boolean: bool,
        solver: str | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.variables, self.parameters, self.all_boolean = variables, parameters, all_boolean
        self.solver = solver or ("HIGHS" if "HIGHS" in cp.installed_solvers() else "SCIPY")
        self.solver_options = _EXACT.get(self.solver, {}) if solver_options is None else solver_options
        self._data = [cp.Parameter(v.shape) for v in variables]
        terms = [
            cp.sum(cp.multiply(data, v)) if all_boolean else cp.sum(cp.abs(v - data))
            for data, v in zip(self._data, variables, strict=True)
        ]
        self._problem = cp.Problem(cp.Minimize(sum(terms)), list(constraints))

    def __deepcopy__(self, memo: dict[int, Any]) -> IntegerProgram:
        """Share the program: it never changes."""
        return self

    def solve(self, v: np.ndarray, y: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return a feasible point ``(n,)``, or None if there is none.

        Parameters
        ----------
        v, y : ndarray, shape (n,)
            The input, and its projection onto the relaxed set.
        values : list of ndarray
            Of the parameters, flat in C order.

        Raises
        ------
        NotSolvedError
            If the solver does not take such a problem, or stops early.
        """
        data = (1 - 2 * v) / (1 + np.abs(v).max()) if self.all_boolean else y
        parts = np.split(data, np.cumsum([x.size for x in self.variables])[:-1])
        for own, part in zip(self._data, parts, strict=True):
            own.value = part.reshape(own.shape)
        before = [p.value for p in self.parameters]
        try:
            for p, value in zip(self.parameters, values, strict=True):
                p.value = value.reshape(p.shape)
            self._problem.solve(solver=self.solver, **self.solver_options)
        except SolverError as error:
            raise NotSolvedError(
                f"{self.solver} finds no integer point of this set ({error}): HiGHS takes linear constraints only; "
                "pass solver=... one that is installed and takes the others, as SCIP does"
            ) from error
        finally:
            for p, value in zip(self.parameters, before, strict=True):
                p.value = value
        if self._problem.status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE, "infeasible_or_unbounded"):
            return None
        if self._problem.status != cp.OPTIMAL:
            raise NotSolvedError(f"{self.solver} stopped with the status {self._problem.status!r}")
        return np.concatenate([np.asarray(x.value, dtype=float).ravel() for x in self.variables])
