"""What the user holds: a convex set declared in CVXPY, as torch operations."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.compiler.diagnosis import check_constraints, check_convex, check_variables
from optlayers.errors import InfeasibleError
from optlayers.explanation import explain
from optlayers.parameters import Given, assign, check_values, name_rows
from optlayers.parametric.constants import is_traced
from optlayers.parametric.maps import Values
from optlayers.projection.compiled_set import CompiledSet
from optlayers.solution import Solution, Status

Method = Literal["auto", "closed_form", "cvxpylayers"]
OnFailure = Literal["raise", "warn", "nan", "nearest"]
_SOLVED, _INFEASIBLE, _INVALID = map(int, Status)


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
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint,
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
        self._given: dict[int, Given] = {}
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
        bound._given = self._given | {k: Given.of(self.parameters[k], value) for k, value in given.items()}
        return bound

    def __deepcopy__(self, memo: dict[int, Any]) -> FeasibleSet:
        """Copy the parameter values; the rest never changes, and is shared."""
        other = copy.copy(self)
        other._given = copy.deepcopy(self._given, memo)
        return other

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
        """Return the projection with a status and a residual per sample; arguments and errors as for `project`."""
        v, values = self._prepare(points)
        with torch.autocast(v.device.type, enabled=False):
            y, status = self._project(v, values)
            residual = _largest(self._residual(y, values))
        return Solution(self._pack(y, points), status.expand(y.shape[:-1]), residual, steps=0)

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
        given = [self._given[k].on(p, first) for k, p in enumerate(self.parameters)]
        if self.validate and not is_traced():
            for parameter, value in zip(self.parameters, given, strict=True):
                check_values(parameter, value)
        tensors = [*points, *(value for k, value in enumerate(given) if self._given[k].is_tensor)]
        floating = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
        dtype = functools.reduce(torch.promote_types, floating, torch.float32)
        flat = [_flatten(value, len(p.shape), dtype) for p, value in zip(self.parameters, given, strict=True)]
        parts = [_flatten(point, len(v.shape), dtype) for v, point in zip(self.variables, points, strict=True)]
        names = [leaf.name() for leaf in (*self.variables, *self.parameters)]
        batch = _common_batch(names, [*parts, *flat])
        if len(parts) > 1:
            parts = [torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)]
        return parts[0], Values(tuple(flat), dtype, first.device)

    def _project(self, v: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Return the projection and each sample's status; on failure, do what `on_failure` says."""
        compiled, relaxed = self._compiled, self.on_failure == "nearest"
        finite = v.isfinite().all(-1)
        for tensor in values.tensors:
            finite = finite & tensor.isfinite().all(-1)
        feasible = compiled.feasible(values)
        solved = finite if feasible is None else finite & feasible
        status = torch.where(solved, _SOLVED, torch.where(finite, _INFEASIBLE, _INVALID))
        if not self.validate or is_traced():
            y = compiled.project(v, values, relaxed=relaxed)
            return torch.where((finite if relaxed else solved).unsqueeze(-1), y, torch.nan), status
        if not bool(finite.all()):
            return self._project_finite(v, values, finite)
        y = compiled.project(v, values, relaxed=relaxed and not bool(solved.all()))
        if compiled.general is not None:
            status = torch.where(y.detach().isfinite().all(-1), status, _INFEASIBLE)
        return (self._fail(y, status != _SOLVED, values) if bool(status.any()) else y), status

    def _project_finite(self, v: Tensor, values: Values, finite: Tensor) -> tuple[Tensor, Tensor]:
        """Project the finite samples; the others raise, or become NaN."""
        message = f"a point or a parameter is NaN or infinite in {name_rows(~finite)}"
        if self.on_failure == "raise":
            raise ValueError(message)
        if self.on_failure in ("warn", "nearest"):
            warnings.warn(f"{message}. These samples are NaN.", RuntimeWarning, stacklevel=5)
        batch = finite.shape
        tensors = [t.expand(*batch, t.shape[-1]) for t in values.tensors]
        y = torch.full((*batch, v.shape[-1]), torch.nan, dtype=v.dtype, device=v.device)
        own = Values(tuple(t[finite] for t in tensors), values.dtype, values.device)
        projected, own_status = self._project(v.expand(*batch, v.shape[-1])[finite], own)
        where = finite.nonzero(as_tuple=True)
        status = torch.full_like(finite, _INVALID, dtype=own_status.dtype)
        return y.index_put(where, projected), status.index_put(where, own_status)

    def _fail(self, y: Tensor, failed: Tensor, values: Values) -> Tensor:
        """Raise, warn, or mark the samples without answer."""
        if self.on_failure == "nearest":
            return y
        conflict = self._compiled.conflict(values)
        samples = failed.expand(y.shape[:-1])
        if conflict is None:
            labels = self._compiled.general.labels if self._compiled.general else ()
            message = f"cvxpylayers found no answer for {name_rows(samples)}: most likely the set is empty there."
        else:
            labels = conflict.constraints
            where = name_rows(conflict.samples)
            message = f"The set is empty for {where}: no point satisfies {_together(labels)}."
        if self.on_failure == "raise":
            raise InfeasibleError(message, labels, samples.flatten().nonzero().flatten().tolist())
        if self.on_failure == "warn":
            warnings.warn(f"{message} These samples are NaN.", RuntimeWarning, stacklevel=5)
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
        return shaped if len(shaped) > 1 else next(iter(shaped))


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
    for parameter in found:
        if parameter.is_complex():
            raise ValueError(f"parameter {parameter.name()} is complex: only real parameters are supported")
    if parameters is None:
        return found
    chosen = [parameters] if isinstance(parameters, cp.Expression) else list(parameters)
    for parameter in chosen:
        if not isinstance(parameter, cp.Parameter):
            raise ValueError(f"parameters: expected CVXPY parameters, got {type(parameter).__name__} ({parameter})")
    given, needed = {p.id for p in chosen}, {p.id for p in found}
    if given != needed or len(given) < len(chosen):
        missing = ", ".join(p.name() for p in found if p.id not in given) or "none"
        extra = ", ".join(p.name() for p in chosen if p.id not in needed) or "none"
        twice = "; some are given twice" if len(given) < len(chosen) else ""
        raise ValueError(
            "parameters: expected each parameter of the constraints once; "
            f"missing: {missing}; not in the constraints: {extra}{twice}"
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


def _common_batch(names: Sequence[str], tensors: Sequence[Tensor]) -> torch.Size:
    try:
        return torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(t.shape[:-1])}" for name, t in zip(names, tensors, strict=True))
        raise ValueError(f"the batch dimensions do not fit together: {shapes}") from None


def _largest(residual: Tensor) -> Tensor:
    return residual.abs().amax(-1) if residual.shape[-1] else residual.sum(-1)


def _together(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]} together"
