"""What the user holds: a convex set declared in CVXPY, as torch operations."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.compiler.diagnosis import check_constraints, check_convex, check_variables
from optlayers.errors import InfeasibleError
from optlayers.explanation import explain
from optlayers.parameters import as_tensor, assign, check_values, name_rows
from optlayers.parametric.constants import is_traced
from optlayers.parametric.maps import Values
from optlayers.projection.compiled_set import CompiledSet
from optlayers.solution import Solution

Method = Literal["auto", "closed_form", "cvxpylayers"]
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
    method : {"auto", "closed_form", "cvxpylayers"}
        "auto" takes a closed form for each recognised block and the reference method for the others; "closed_form"
        refuses sets with others; "cvxpylayers" takes the reference method for everything.
    on_failure : {"raise", "warn", "nan", "nearest"}
        What a sample without answer (the set is empty for its parameters) does: raise; warn and become NaN; become
        NaN; become the least-infeasible point. Other samples are not affected.
    validate : bool
        Whether to check values, which waits for the device once per call. Without it, and inside `torch.compile`,
        `torch.export` and `vmap`, bad samples come back as NaN.

    Raises
    ------
    NotConvexError, NotParametrizedError, InfeasibleError, ValueError
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint] | cp.Constraint,
        variables: cp.Variable | Sequence[cp.Variable] | None = None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None = None,
        *,
        method: Method = "auto",
        on_failure: OnFailure = "raise",
        validate: bool = True,
    ) -> None:
        _check_choice("method", method, Method)
        _check_choice("on_failure", on_failure, OnFailure)
        self.constraints: list[cp.Constraint] = check_constraints(constraints)
        self.variables: list[cp.Variable] = _choose_variables(self.constraints, variables)
        self.parameters: list[cp.Parameter] = _choose_parameters(self.constraints, self.variables, parameters)
        self.on_failure, self.validate = on_failure, validate
        check_convex(self.constraints)
        self._compiled = CompiledSet(
            self.constraints, self.variables, self.parameters, closed_forms=method != "cvxpylayers"
        )
        self._given: dict[int, Tensor] = {}
        self._check_method(method)

    def _check_method(self, method: Method) -> None:
        if method == "closed_form" and self._compiled.general is not None:
            raise ValueError(f"method='closed_form', but not every block has a closed form.\n{self.explain()}")
        if self.on_failure == "nearest" and self._compiled.general is not None:
            raise ValueError(f"on_failure='nearest' needs closed forms for every block.\n{self.explain()}")
        if self.on_failure == "raise" and self._compiled.conflicts:
            labels = self._compiled.conflicts[0].constraints
            raise InfeasibleError(f"The set is empty: no point satisfies {_together(labels)}.", labels)

    @property
    def method(self) -> str:
        """The method in use: "closed_form" where every block is recognised, else "cvxpylayers"."""
        return "closed_form" if self._compiled.general is None else "cvxpylayers"

    def bind(self, *values: Any, **named: Any) -> FeasibleSet:
        """Return the set with parameter values, by position or by name; each is ``(*batch, *shape)`` or a number."""
        bound = copy.copy(self)
        given = assign(self.parameters, values, named)
        bound._given = self._given | {k: as_tensor(self.parameters[k], value) for k, value in given.items()}
        return bound

    def project(self, *points: Tensor) -> Any:
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
        """
        v, values = self._prepare(points)
        with torch.autocast(v.device.type, enabled=False):
            y, _ = self._project(v, values)
        return self._pack(y, points)

    def solve(self, *points: Tensor) -> Solution:
        """Return the projection with its violation and distance, per sample; see `project`."""
        v, values = self._prepare(points)
        with torch.autocast(v.device.type, enabled=False):
            y, solved = self._project(v, values)
            distance = torch.linalg.vector_norm(y - v, dim=-1)
            violation = _largest(self._residual(y, values))
        return Solution(self._pack(y, points), solved.expand(y.shape[:-1]), violation, distance, self.method)

    def residual(self, *points: Tensor) -> Tensor:
        """Return slack minus its projection onto the cone, row by row of the conic form: ``(*batch, rows)``.

        Zero exactly at feasible points. Sets whose auxiliary variables cannot be eliminated have no rows of their own:
        the residual is then the point minus its projection.
        """
        return self._residual(*self._prepare(points))

    def violation(self, *points: Tensor) -> Tensor:
        """Return the largest absolute residual, per sample: ``(*batch,)``."""
        return _largest(self.residual(*points))

    def contains(self, *points: Tensor, atol: float = 1e-6) -> Tensor:
        """Return whether the violation is at most `atol`, per sample."""
        return self.violation(*points) <= atol

    def explain(self) -> str:
        """Say what was recognised, block by block, which method each block runs on, and what was not recognised."""
        return explain(self._compiled, self.variables)

    def __repr__(self) -> str:
        names = ", ".join(f"{v.name()} {tuple(v.shape)}" for v in self.variables)
        return f"FeasibleSet({names}: {explain(self._compiled, self.variables, short=True)})"

    def _prepare(self, points: Sequence[Tensor]) -> tuple[Tensor, Values]:
        """Check points and parameters; return them flat, in the dtype to compute in."""
        if len(points) != len(self.variables):
            raise ValueError(f"expected {len(self.variables)} points, one per variable, got {len(points)}")
        for variable, point in zip(self.variables, points, strict=True):
            _check_point(variable, point)
        missing = [p.name() for k, p in enumerate(self.parameters) if k not in self._given]
        if missing:
            raise ValueError(f"no value for the parameters {', '.join(missing)}: pass them, or call bind")
        first = points[0]
        given = [as_tensor(p, self._given[k], like=first) for k, p in enumerate(self.parameters)]
        if self.validate and not is_traced():
            for parameter, value in zip(self.parameters, given, strict=True):
                check_values(parameter, value)
        dtype = torch.float32
        for tensor in (*points, *given):
            dtype = torch.promote_types(dtype, tensor.dtype) if tensor.is_floating_point() else dtype
        flat = [_flatten(value, len(p.shape), dtype) for p, value in zip(self.parameters, given, strict=True)]
        parts = [_flatten(point, len(v.shape), dtype) for v, point in zip(self.variables, points, strict=True)]
        if len(parts) > 1:
            batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
            parts = [torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)]
        return parts[0], Values(tuple(flat), dtype, first.device)

    def _project(self, v: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Return the projection and which samples have one; on failure, do what `on_failure` says."""
        compiled = self._compiled
        finite = v.isfinite().all(-1)
        feasible = compiled.feasible(values)
        solved = finite if feasible is None else finite & feasible
        if not self.validate or is_traced():
            y = compiled.project(v, values, relaxed=self.on_failure == "nearest")
            valid = finite if self.on_failure == "nearest" else solved
            return torch.where(valid.unsqueeze(-1), y, torch.nan), solved
        if bool(solved.all()):
            y = compiled.project(v, values)
            if compiled.general is None:
                return y, solved
            solved = solved & y.detach().isfinite().all(-1)
            return (y, solved) if bool(solved.all()) else (self._fail(y, solved, values), solved)
        if not bool(finite.all()) and self.on_failure == "raise":
            raise ValueError(f"the point is NaN or infinite in {name_rows(~finite)}")
        v = torch.where(finite.unsqueeze(-1), v, 0.0)
        y = compiled.project(v, values, relaxed=self.on_failure == "nearest")
        y = self._fail(y, solved, values)
        return torch.where(finite.unsqueeze(-1), y, torch.nan), solved

    def _fail(self, y: Tensor, solved: Tensor, values: Values) -> Tensor:
        """Raise, warn, or mark the samples without answer."""
        if self.on_failure == "nearest":
            return y
        conflict = self._compiled.conflict(values)
        samples = ~solved.expand(y.shape[:-1])
        if conflict is None:
            labels = self._compiled.general.labels if self._compiled.general else ()
            message = (
                f"The reference method found no answer for {name_rows(samples)}: most likely the set is empty there."
            )
        else:
            labels = conflict.constraints
            where = name_rows(conflict.samples)
            message = f"The set is empty for {where}: no point satisfies {_together(labels)}."
        if self.on_failure == "raise":
            raise InfeasibleError(message, labels, samples.flatten().nonzero().flatten().tolist())
        if self.on_failure == "warn":
            warnings.warn(message + " These samples are NaN.", RuntimeWarning, stacklevel=4)
        return torch.where(samples.unsqueeze(-1), torch.nan, y)

    def _residual(self, y: Tensor, values: Values) -> Tensor:
        if self._compiled.residual is not None:
            return self._compiled.residual(y, values)
        return y - self._project(y, values)[0]

    def _pack(self, y: Tensor, points: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return the flat result in the variables' shapes and the points' dtypes."""
        parts = y.split([v.size for v in self.variables], -1)
        shaped = tuple(
            part.reshape((*y.shape[:-1], *variable.shape)).to(point.dtype)
            for part, variable, point in zip(parts, self.variables, points, strict=True)
        )
        return shaped if len(shaped) > 1 else shaped[0]


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in choices.__args__:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices.__args__))}, got {value!r}")


def _choose_variables(
    constraints: Sequence[cp.Constraint], variables: cp.Variable | Sequence[cp.Variable] | None
) -> list[cp.Variable]:
    found = list({v.id: v for c in constraints for v in c.variables()}.values())
    if variables is None:
        if len(found) != 1:
            names = ", ".join(v.name() for v in found) or "none"
            raise ValueError(
                f"the constraints have {len(found)} variables ({names}): say which to project, variables=[...]"
            )
        chosen = found
    else:
        chosen = [variables] if isinstance(variables, cp.Expression) else list(variables)
        if not chosen or len({id(v) for v in chosen}) < len(chosen):
            raise ValueError(f"variables: expected distinct variables, at least one, got {[str(v) for v in chosen]}")
    check_variables([*chosen, *found])
    return chosen


def _choose_parameters(
    constraints: Sequence[cp.Constraint],
    variables: Sequence[cp.Variable],
    parameters: cp.Parameter | Sequence[cp.Parameter] | None,
) -> list[cp.Parameter]:
    everything = [*variables, *(v for c in constraints for v in c.variables())]
    bounds = [b for v in everything for b in v.attributes["bounds"] or [] if isinstance(b, cp.Expression)]
    found = list({p.id: p for source in [*constraints, *bounds] for p in source.parameters()}.values())
    if parameters is None:
        return found
    chosen = [parameters] if isinstance(parameters, cp.Expression) else list(parameters)
    given, needed = {p.id for p in chosen}, {p.id for p in found}
    if given != needed or len(given) < len(chosen):
        missing = ", ".join(p.name() for p in found if p.id not in given) or "none"
        extra = ", ".join(p.name() for p in chosen if p.id not in needed) or "none"
        raise ValueError(
            "parameters: expected each parameter of the constraints once; "
            f"missing: {missing}; not in the constraints: {extra}"
        )
    return chosen


def _check_point(variable: cp.Variable, point: object) -> None:
    shape = tuple(variable.shape)
    if not isinstance(point, Tensor):
        raise ValueError(f"variable {variable.name()}: expected a tensor, got {type(point).__name__}")
    if not point.is_floating_point():
        raise ValueError(f"variable {variable.name()}: expected a floating-point tensor, got {point.dtype}")
    if point.ndim < len(shape) or tuple(point.shape[point.ndim - len(shape) :]) != shape:
        raise ValueError(
            f"variable {variable.name()} has shape {shape}: expected a point (*batch, {', '.join(map(str, shape))}), "
            f"got {tuple(point.shape)}"
        )


def _flatten(tensor: Tensor, event: int, dtype: torch.dtype) -> Tensor:
    """Return ``(*batch, size)`` in C order."""
    tensor = tensor.to(dtype)
    return tensor.unsqueeze(-1) if event == 0 else tensor.flatten(tensor.ndim - event)


def _largest(residual: Tensor) -> Tensor:
    return residual.abs().amax(-1) if residual.shape[-1] else residual.sum(-1)


def _together(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]} together"
