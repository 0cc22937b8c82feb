"""The reference method: the same projection through cvxpylayers and diffcp (extra `reference`), a sample at a time.

Slow, on the CPU, and accurate to about 1e-5 only, because diffcp needs the distance as a second-order cone; but it
shares nothing with the rest of the library, and it takes every set that CVXPY can express.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.errors import extra

if TYPE_CHECKING:
    from cvxpylayers.torch.cvxpylayer import CvxpyLayer

_DENSE_LIMIT = 300  # beyond this many entries, derivatives by iteration (LSQR) instead of by dense elimination
_TOLERANCE = 1e-12
_FEASIBILITY = 1e-4  # relative; above it a sample counts as failed


class Reference:
    """``argmin_y ||y - v||`` over CVXPY constraints, differentiable once in the point and the parameters.

    The constraints are on leaves without values, which nobody else gives values while a batch is projected.
    """

    def __init__(
        self, constraints: Sequence[cp.Constraint], variables: Sequence[cp.Variable], parameters: Sequence[cp.Parameter]
    ) -> None:
        self.constraints = list(constraints)
        everything = {v.id: v for source in (variables, *(c.variables() for c in constraints)) for v in source}
        self.variables = list(everything.values())
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
        with extra("reference"):
            from cvxpylayers.torch.cvxpylayer import CvxpyLayer
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), _TOLERANCE)
        arguments: dict[str, Any] = {"solve_method": "Clarabel", **tolerances}
        parameters = [*self.points, *self.parameters]
        return CvxpyLayer(self.problem, parameters=parameters, variables=self.copies, solver_args=arguments)

    def project(self, points: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
        """Project flat points ``(batch, size)``, one per variable, with one flat value ``(batch, size)`` per parameter.

        Samples that diffcp fails on, an empty set included, come back as NaN.
        """
        batch = len(points[0])
        if batch == 0:
            return list(points)
        leaves, given = [*self.points, *self.parameters], [*points, *(parameters[k] for k in self.used)]
        arguments = [
            t.to("cpu", torch.float64).reshape(batch, *leaf.shape) for leaf, t in zip(leaves, given, strict=True)
        ]
        values = self._solve(arguments)
        if values is None:  # one bad sample fails the batch
            missing = [torch.full((1, *copy.shape), torch.nan, dtype=torch.float64) for copy in self.copies]
            singles = [self._solve([t[k : k + 1] for t in arguments]) or missing for k in range(batch)]
            values = [torch.cat(parts) for parts in zip(*singles, strict=True)]
        feasible = self._feasible([*values, *arguments[len(points) :]]).unsqueeze(-1)
        return [
            torch.where(feasible, value.reshape(batch, -1), torch.nan).to(point)
            for value, point in zip(values, points, strict=False)
        ]

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
            except SolverError:
                return None

    def _feasible(self, values: Sequence[Tensor]) -> Tensor:
        """Check each sample's constraints in CVXPY: diffcp calls solved what Clarabel found infeasible."""
        leaves = [*self.variables, *self.parameters]
        demands = [*self.constraints, *(c for v in self.variables for c in v.domain)]
        feasible = []
        for arrays in zip(*(value.detach().numpy() for value in values), strict=True):
            for leaf, array in zip(leaves, arrays, strict=True):
                leaf.save_value(array)
            size = 1 + max(abs(array).max(initial=0) for array in arrays[: len(self.variables)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                violations = [c.violation().max() for c in demands]
            feasible.append(max(violations, default=0.0) <= _FEASIBILITY * size)
        for leaf in leaves:
            leaf.save_value(None)
        return torch.tensor(feasible)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_layer"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Reference:
        return self  # immutable; and copies of CVXPY's objects have other identities
