"""What the user holds: a convex set declared in CVXPY, as torch operations."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any, Literal, overload

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.bound_set import BoundSet
from optlayers.declaration.declaration import Declaration, check_choice
from optlayers.declaration.inputs import check_points, prepare
from optlayers.declaration.parameter_values import Given, assign
from optlayers.declaration.wording import together
from optlayers.errors import InfeasibleError
from optlayers.failures.emptiness import Emptiness
from optlayers.failures.report import Failures
from optlayers.kernels import gpu
from optlayers.projection.duals import DualProblem
from optlayers.projection.explanation import explain, summarise
from optlayers.projection.outcome import Outcome
from optlayers.reference.methods import Method, compile_for
from optlayers.solution import Solution
from optlayers.solvers.conic_program import largest
from optlayers.warm_start import WarmStart, starting_state

OnFailure = Literal["raise", "warn", "nan", "nearest"]


class FeasibleSet:
    """The set of values of `variables` that satisfy CVXPY constraints.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint
        Convex by CVXPY's rules (DCP), and DPP in their parameters. Attributes of variables (`nonneg`, `PSD`, ...)
        count as constraints.
    variables : cvxpy.Variable or list of them, optional
        What is projected; the default is the only variable there is. Other variables are auxiliary: the set is then
        the shadow on `variables`.
    parameters : list of cvxpy.Parameter, optional
        All parameters, in call order; the default is their order of appearance.
    method : {"auto", "closed_form", "general", "dykstra", "cvxpylayers"}
        "auto" takes a closed form for each recognised block and the general solver for the others; "closed_form"
        refuses sets with others; "general" and "cvxpylayers", the reference, are then used for everything.
        "dykstra" takes closed forms too, and Dykstra's alternating projections, which may be slow and never prove that
        a set is empty, for blocks that are intersections of them; it refuses others.
    on_failure : {"raise", "warn", "nan", "nearest"}
        What a sample without answer (the set is empty for its parameters) does: raise; warn and become NaN; become
        NaN; become the least-infeasible point, which minimises the squared violations once crossed bounds have met
        halfway: of rows as they are written for closed forms (of totals alone for transport plans), of rows of unit
        length for the general solver. Other samples are not affected.
    validate : bool
        Whether bad samples are reported, for which values are looked at, which waits for the device. Without it, and
        inside `torch.compile`, `torch.export` and the transforms of `torch.func`, bad samples come back as NaN.

    Raises
    ------
    NotConvexError
        If a constraint is not DCP, or a variable is not real and continuous.
    NotParametrizedError
        If a constraint is not DPP in its parameters.
    InfeasibleError
        If the set is empty whatever the parameters are, and ``on_failure="raise"``.
    ValueError
        If an argument is not what it should be, or the variables or parameters do not fit the constraints.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint,
        variables: cp.Variable | Sequence[cp.Variable] | None = None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None = None,
        *,
        method: Method = "auto",
        on_failure: OnFailure = "raise",
        validate: bool = True,
    ) -> None:
        check_choice("method", method, Method)
        check_choice("on_failure", on_failure, OnFailure)
        declaration = Declaration(constraints, variables, parameters)
        self.constraints: list[cp.Constraint] = declaration.constraints
        self.variables: list[cp.Variable] = declaration.variables
        self.parameters: list[cp.Parameter] = declaration.parameters
        self.on_failure, self.validate = on_failure, validate
        self._method = "general" if method in ("auto", "closed_form") else method
        self._given: dict[int, Given] = {}
        self._dual_problem = DualProblem(declaration.snapshot, declaration.given)  # shared by bound copies
        self.snapshot = declaration.snapshot
        self.compiled = compile_for(method, self.snapshot)
        if method == "closed_form" and self.compiled.general:
            raise ValueError(f"method='closed_form', but not every block has a closed form.\n{self.explain()}")
        if on_failure == "nearest" and method in ("cvxpylayers", "dykstra"):
            raise ValueError(f"on_failure='nearest' needs another method than {method!r}, which finds no such points.")
        self._emptiness = Emptiness(self.snapshot)
        if on_failure == "raise" and self.compiled.conflicts:
            labels = self._emptiness.explain_always(self.compiled)
            raise InfeasibleError(f"The set is empty: no point satisfies {together(labels)}.", labels)

    @property
    def method(self) -> str:
        """The method in use: "closed_form" where every block is recognised, else what the others run on."""
        return self._method if self.compiled.general else "closed_form"

    @property
    def unbound(self) -> list[cp.Parameter]:
        """The parameters without a value."""
        return [p for k, p in enumerate(self.parameters) if k not in self._given]

    def bind(self, *values: Any, **named: Any) -> FeasibleSet:
        """Return the set with parameter values, by position or by name; each is ``(*batch, *shape)`` or a number.

        Arrays are copied. Tensors are kept as they are, so that the set follows changes in place, and gradients reach
        them.
        """
        given = assign(self.parameters, values, named)
        return self._with({k: Given.of(self.parameters[k], value) for k, value in given.items()})

    def bind_like(self, other: FeasibleSet, *values: Any) -> FeasibleSet:
        """Return the set with the parameter values of one whose parameters are the first of these; others follow."""
        more = dict(enumerate(values, len(other.parameters)))
        return self._with(other._given | {k: Given.of(self.parameters[k], value) for k, value in more.items()})

    def _with(self, given: dict[int, Given]) -> FeasibleSet:
        other = copy.copy(self)
        vars(other)["_given"] = self._given | given
        return other

    def bind_inputs(self, inputs: Sequence[Tensor], named: dict[str, Any]) -> tuple[Sequence[Tensor], FeasibleSet]:
        """Take a layer's inputs apart: one point per variable, and the set with the parameter values that follow."""
        count = len(self.variables)
        points, values = inputs[:count], inputs[count:]
        return points, self.bind(*values, **named) if values or named else self

    def prepare(self, *points: Tensor, keep_half: bool = False) -> tuple[Tensor, BoundSet]:
        """Check points, and return them in the form in which sets are worked with.

        Parameters
        ----------
        *points : Tensor, shape (*batch, *variable.shape)
            One per variable.
        keep_half : bool
            Whether points of half types stay as they are where kernels take them.

        Returns
        -------
        v : Tensor, shape (*batch, n)
            The values of all variables, in the dtype of the computation: that of the points and parameters, float32 at
            least.
        bound : BoundSet
            The set for the parameter values that were bound, on the points' device.

        Raises
        ------
        ValueError
            For a wrong shape or dtype, or missing parameters.
        """
        tensors = check_points(self.variables, points)
        keep_half = keep_half and not is_traced() and gpu.available(tensors[0]) and self.compiled.takes_half
        looks = not is_traced()
        options = {"validate": self.validate and looks, "keep_half": keep_half}
        v, values, problems = prepare(self.variables, self.parameters, tensors, self._given, **options)
        # Without validation nothing waits for a device; on the CPU there is nothing to wait for.
        return v, BoundSet(self.compiled, values, problems, looks=looks and (self.validate or v.device.type == "cpu"))

    def unflatten(self, y: Tensor, points: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return flat values ``(*batch, n)`` in the variables' shapes and the points' dtypes; several as a tuple."""
        sizes = [v.size for v in self.variables]
        parts = y.split(sizes, -1) if len(sizes) > 1 else (y,)
        shaped = tuple(
            part.reshape((*y.shape[:-1], *variable.shape)).to(point.dtype)
            for part, variable, point in zip(parts, self.variables, points, strict=True)
        )
        return shaped if len(shaped) > 1 else next(iter(shaped))

    def __deepcopy__(self, memo: dict[int, Any]) -> FeasibleSet:
        """Copy the parameter values; the rest never changes, and is shared."""
        return self._with(copy.deepcopy(self._given, memo))

    @overload
    def project(self, point: Tensor, /) -> Tensor: ...

    @overload
    def project(self, point: Tensor, other: Tensor, /, *more: Tensor) -> tuple[Tensor, ...]: ...

    @overload
    def project(self, *points: Tensor) -> Tensor | tuple[Tensor, ...]: ...

    def project(self, *points: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the nearest point of the set, ``argmin_y ||y - v||_2``.

        Parameters
        ----------
        *points : Tensor, shape (*batch, *variable.shape)
            One per variable; the distance is the sum over them. Batch dimensions broadcast against those of the
            parameters.

        Returns
        -------
        Tensor or tuple of Tensor
            Of the dtype and on the device of the points; a tuple if there are several variables.

        Raises
        ------
        ValueError
            For a wrong shape or dtype, missing parameters, NaN or infinity, a parameter that breaks its attributes.
        InfeasibleError
            If the set is empty for some sample and ``on_failure="raise"``.
        NotSolvedError
            If the general solver fails on some sample and ``on_failure="raise"``.
        """
        v, bound = self.prepare(*points, keep_half=True)
        return self.unflatten(self._answer(v, bound).value, points)

    def solve(self, *points: Tensor, warm_start: Solution | WarmStart | None = None) -> Solution:
        """Return the projection with a status, a residual and dual variables.

        Parameters
        ----------
        *points : Tensor
            As for `project`.
        warm_start : Solution or WarmStart, optional
            Of nearby points and parameters, in a batch of the same shape: the general solver starts from its duals and
            points. That changes the number of steps, not the answer.

        Returns
        -------
        Solution
            The errors are those of `project`.
        """
        v, bound = self.prepare(*points)
        outcome = self._answer(v, bound, starting_state(warm_start, v, bound))
        batch = outcome.value.shape[:-1]
        status = outcome.value.new_zeros(batch, dtype=torch.int64) if outcome.status is None else outcome.status
        residual = outcome.violation  # known of the auxiliary entries that were found with the points
        if residual is None or self.compiled.residual is not None or self._method == "cvxpylayers":
            residual = largest(bound.residual(outcome.value))
        steps = torch.zeros_like(status) if outcome.steps is None else outcome.steps
        dtype = functools.reduce(torch.promote_types, (point.dtype for point in points))
        return Solution(
            self.unflatten(outcome.value, points),
            status.expand(batch),
            residual.to(outcome.value.dtype).expand(batch),
            steps.expand(batch),
            outcome.state,
            functools.partial(self._dual_problem.solve, v.detach(), bound.values.detached(), dtype),
        )

    def residual(self, *points: Tensor) -> Tensor:
        """Return slack minus its projection onto the cone, row by row of the conic form.

        Zero exactly at feasible points. Sets whose auxiliary variables cannot be eliminated have no rows of their own:
        the residual is then the point minus its projection, and costs a projection.

        Parameters
        ----------
        *points : Tensor, shape (*batch, *variable.shape)
            One per variable.

        Returns
        -------
        Tensor, shape (*batch, rows)
            In the dtype of the computation: that of the points and parameters, float32 at least.

        Raises
        ------
        ValueError
            As for `project`, NaN and infinity excepted.
        """
        v, bound = self.prepare(*points)
        return bound.residual(v)

    def violation(self, *points: Tensor) -> Tensor:
        """Return the largest absolute residual per sample, ``(*batch,)``; arguments as for `residual`."""
        return largest(self.residual(*points))

    def contains(self, *points: Tensor, atol: float = 1e-6) -> Tensor:
        """Return whether the violation is at most `atol`, per sample ``(*batch,)``; arguments as for `residual`."""
        return self.violation(*points) <= atol

    def explain(self) -> str:
        """Say what was recognised, block by block, which method each block runs on, and what was not recognised."""
        return explain(self.compiled, self.variables)

    def __repr__(self) -> str:
        names = ", ".join(f"{v.name()} {tuple(v.shape)}" for v in self.variables)
        return f"FeasibleSet({names}: {summarise(self.compiled)})"

    def _answer(self, v: Tensor, bound: BoundSet, start: Sequence[Tensor] | None = None) -> Outcome:
        """Return the projection and each sample's status; on failure, do what `on_failure` says."""
        outcome = bound.project(v, start, relax=self.on_failure == "nearest")
        if self.validate and bound.looks and outcome.status is not None and bool(outcome.status.any()):
            Failures(bound, self._emptiness, outcome.status, outcome.error).report(self.on_failure)
        return outcome
