"""The reference method: the same projection through cvxpylayers and diffcp (extra `reference`), a sample at a time.

Slow, on the CPU, and accurate to about 1e-5 only, because diffcp needs the distance as a second-order cone; but it
shares nothing with the rest of the library, and it takes every set that CVXPY can express.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from cvxpylayers.torch.cvxpylayer import CvxpyLayer

_DENSE_LIMIT = 300  # beyond this many entries, derivatives by iteration (LSQR) instead of by dense elimination
_TOLERANCE = 1e-12
_FEASIBILITY = 1e-4  # relative; above it a sample counts as failed


@contextmanager
def _preserved(leaves: Sequence[cp.Variable | cp.Parameter]) -> Iterator[None]:
    """Put back the values of the user's own CVXPY objects."""
    values = [leaf.value_sparse if leaf.sparse_idx is not None else leaf.value for leaf in leaves]
    try:
        yield
    finally:
        for leaf, value in zip(leaves, values, strict=True):
            if leaf.sparse_idx is not None:
                leaf.value_sparse = value
            else:
                leaf.save_value(value)


class Reference:
    """``argmin_y ||y - v||`` over CVXPY constraints, differentiable once in the point and the parameters."""

    def __init__(
        self, constraints: Sequence[cp.Constraint], variables: Sequence[cp.Variable], parameters: Sequence[cp.Parameter]
    ) -> None:
        self.constraints = list(constraints)
        auxiliary = {v.id: v for c in constraints for v in c.variables()}
        self.variables = [
            *variables,
            *(v for v in auxiliary.values() if all(v.id != chosen.id for chosen in variables)),
        ]
        # plain copies: cvxpylayers does not return variables with attributes such as diag correctly
        self.copies = [cp.Variable(v.shape) for v in self.variables]
        self.points = [cp.Parameter(v.shape) for v in variables]
        distance = sum(cp.sum_squares(copy - point) for copy, point in zip(self.copies, self.points, strict=False))
        ties = [copy == v for copy, v in zip(self.copies, self.variables, strict=True)]
        self.problem = cp.Problem(cp.Minimize(distance), [*constraints, *ties])
        used = {p.id for p in self.problem.parameters()}
        self.used = [k for k, p in enumerate(parameters) if p.id in used]
        self.parameters = [parameters[k] for k in self.used]

    @cached_property
    def _layer(self) -> CvxpyLayer:
        try:
            from cvxpylayers.torch.cvxpylayer import CvxpyLayer
        except ImportError as error:
            raise ImportError(
                "This set is projected onto by the reference method, which needs cvxpylayers: "
                "pip install 'optlayers[reference]'."
            ) from error
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), _TOLERANCE)
        arguments: dict[str, Any] = {"solve_method": "Clarabel", **tolerances}
        parameters = [*self.points, *self.parameters]
        return CvxpyLayer(self.problem, parameters=parameters, variables=self.copies, solver_args=arguments)

    def project(self, points: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
        """Project points ``(batch, *shape)``, one per variable, with one value ``(batch, *shape)`` per parameter.

        Samples that diffcp fails on, an empty set included, come back as NaN.
        """
        if points[0].shape[0] == 0:
            return list(points)
        arguments = [*points, *(parameters[k] for k in self.used)]
        arguments = [t.to("cpu", torch.float64) for t in arguments]
        values = self._solve(arguments)
        if values is None:
            values = self._solve_one_by_one(arguments)
        feasible = self._feasible(values, arguments[len(points) :])
        return [
            torch.where(feasible.reshape(-1, *[1] * (value.ndim - 1)), value, torch.nan).to(point)
            for value, point in zip(values, points, strict=False)
        ]

    def _solve_one_by_one(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        singles = [self._solve([t[k : k + 1] for t in arguments]) for k in range(len(arguments[0]))]
        missing = [torch.full((1, *copy.shape), torch.nan, dtype=torch.float64) for copy in self.copies]
        return [torch.cat(parts) for parts in zip(*(missing if s is None else s for s in singles), strict=True)]

    def _solve(self, arguments: Sequence[Tensor]) -> list[Tensor] | None:
        options = {}
        if torch.is_grad_enabled() and any(t.requires_grad for t in arguments):
            size = sum(v.size for v in self.problem.variables())
            options["mode"] = "dense" if size <= _DENSE_LIMIT else "lsqr"
        layer = self._layer
        from diffcp.cone_program import SolverError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return list(layer(*arguments, solver_args=options))
            except SolverError:  # one bad sample fails the batch
                return None

    def _feasible(self, values: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
        """Check each sample's constraints in CVXPY: diffcp calls solved what Clarabel found infeasible."""
        result = torch.zeros(len(values[0]), dtype=torch.bool)
        demands = [*self.constraints, *(c for v in self.variables for c in v.domain)]
        with _preserved([*self.variables, *self.parameters]):
            self._check(result, demands, values, parameters)
        return result

    def _check(
        self,
        result: Tensor,
        demands: Sequence[cp.Constraint],
        values: Sequence[Tensor],
        parameters: Sequence[Tensor],
    ) -> None:
        for k in range(len(result)):
            arrays = [value[k].detach().numpy() for value in values]
            for variable, value in zip(self.variables, arrays, strict=True):
                variable.save_value(value)
            for parameter, value in zip(self.parameters, parameters, strict=True):
                parameter.save_value(value[k].detach().numpy())
            size = 1 + max(float(np.abs(value).max(initial=0)) for value in arrays)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                violation = max((float(np.max(c.violation())) for c in demands), default=0.0)
            result[k] = violation <= _FEASIBILITY * size

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_layer"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Reference:
        return self  # immutable; and copies of CVXPY's objects have other identities
