"""Programs that CVXPY solves, one sample after another: what is done where a set has no formula."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np
import torch
from cvxpy.error import SolverError
from torch import Tensor

from optlayers.errors import NotSolvedError

_EXACT = {"HIGHS": {"mip_rel_gap": 0.0}, "SCIPY": {"scipy_options": {"mip_rel_gap": 0.0}}}


class Program:
    """``argmin_x sum_i objective(x_i, data_i)`` over the variables `x_i` of CVXPY constraints.

    Variables and parameters of the constraints keep the values that the user gave them. An objective takes a variable
    and a `cvxpy.Parameter` of its shape; `solver` and `options` are for `cvxpy.Problem.solve`.
    """

    solved: ClassVar[tuple[str, ...]] = (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
    empty: ClassVar[tuple[str, ...]] = (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE)
    advice: ClassVar[str] = ""

    def __init__(
        self,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        objective: Callable[[Any, Any], Any],
        solver: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.variables, self.solver, self.options = variables, solver, options or {}
        data = [cp.Parameter(v.shape) for v in variables]
        self._leaves = [*data, *parameters]
        terms = [objective(v, d) for v, d in zip(variables, data, strict=True)]
        self._problem = cp.Problem(cp.Minimize(sum(terms)), list(constraints))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Program":
        """Share the program: it never changes."""
        return self

    def solve(self, data: Tensor, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return minimisers ``(k, n)``, and which samples ``(k,)`` have no feasible point.

        A minimiser is infinite where the objective is not bounded below, and NaN where there is no feasible point.
        Data ``(k, n)`` and values of the parameters, ``(k, size)`` each, are flat in C order. NotSolvedError says that
        the solver does not take such a problem, or stops early.
        """
        leaves = {leaf.id: leaf for leaf in (*self._problem.variables(), *self._leaves)}.values()
        before = [leaf.value for leaf in leaves]
        rows = [tensor.double().cpu().numpy() for tensor in (data, *values)]
        try:
            points = [self._solve(*row) for row in zip(*rows, strict=True)]
        finally:
            for leaf, value in zip(leaves, before, strict=True):
                leaf.save_value(value)
        x = torch.as_tensor(np.reshape(points, data.shape)).to(data)
        return x, x.isnan().all(-1)

    def _solve(self, data: np.ndarray, *values: np.ndarray) -> np.ndarray:
        parts = np.split(data, np.cumsum([v.size for v in self.variables])[:-1])
        for leaf, value in zip(self._leaves, (*parts, *values), strict=True):
            leaf.value = value.reshape(leaf.shape)
        name = self.solver or "CVXPY"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an inaccurate solution, which the status says too
                self._problem.solve(solver=self.solver, **self.options)
        except SolverError as error:
            raise NotSolvedError(f"{name} does not take this program ({error}){self.advice}") from error
        status = self._problem.status
        if status in self.empty:
            return np.full(data.shape, np.nan)
        if status in (cp.UNBOUNDED, cp.UNBOUNDED_INACCURATE):
            return np.full(data.shape, np.inf)
        if status not in self.solved:
            raise NotSolvedError(f"{name} stopped with the status {status!r}")
        return np.concatenate([np.asarray(v.value, dtype=float).ravel() for v in self.variables])


class IntegerProgram(Program):
    """``argmin_x`` of a linear distance over integer points, by HiGHS with a relative gap of zero or another solver.

    Where all entries are boolean, ``||x - v||^2`` to the input itself: it is linear, since ``x^2 = x``. Otherwise
    ``||x - y||_1`` to the projection `y` onto the relaxed set.
    """

    solved = (cp.OPTIMAL,)
    empty = (*Program.empty, "infeasible_or_unbounded")  # distances are bounded below
    advice = ": HiGHS takes linear constraints only; pass solver=... that is installed and takes others, as SCIP does"

    def __init__(
        self,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        *,
        all_boolean: bool,
        solver: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.all_boolean = all_boolean
        solver = solver or ("HIGHS" if "HIGHS" in cp.installed_solvers() else "SCIPY")
        objective = cp.scalar_product if all_boolean else lambda x, y: cp.norm1(cp.vec(x - y, order="C"))
        options = _EXACT.get(solver) if options is None else options
        super().__init__(constraints, variables, parameters, objective, solver, options)

    def nearest(self, v: Tensor, y: Tensor, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return feasible points for inputs and projections ``(k, n)``, and which samples have none; see `solve`."""
        return self.solve((1 - 2 * v) / (1 + v.abs().amax(-1, keepdim=True)) if self.all_boolean else y, values)
