"""Checks of what the user declared, before anything is compiled, and the words that say what is wrong."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.constraints.finite_set import FiniteSet
from cvxpy.constraints.power import PowCone3D, PowConeND
from cvxpy.constraints.zero import Equality
from torch import Tensor

from optlayers.declaration.wording import describe
from optlayers.errors import InfeasibleError, NotConvexError, NotParametrizedError

_NOT_CONVEX = (
    "{} variables make the set non-convex. Declare its convex relaxation instead, for example bounds=[0, 1] for "
    "boolean=True; DiscreteLayer rounds to feasible points."
)
_NOT_REAL = (
    "only real variables can be projected. Declare its real and imaginary parts as two real variables, and write the "
    "constraints in them."
)
_REFUSED = {
    "boolean": _NOT_CONVEX.format("boolean"),
    "integer": _NOT_CONVEX.format("integer"),
    "complex": _NOT_REAL,
    "imag": _NOT_REAL,
    "hermitian": _NOT_REAL,
}


def check_constraints(constraints: object) -> tuple[list[int | None], list[cp.Constraint]]:
    """Return for each item of the list the number of its constraint, and the constraints, each once.

    There is no number, None, for comparisons of numbers, if they hold; InfeasibleError is raised if not, and ValueError
    for anything that is not a CVXPY constraint.
    """
    if isinstance(constraints, cp.Constraint):
        return [0], [constraints]
    if isinstance(constraints, cp.Problem):
        raise ValueError("constraints: got a CVXPY problem; pass its constraints, `problem.constraints`")
    if isinstance(constraints, (str, bytes)) or not isinstance(constraints, Sequence):
        raise ValueError(f"constraints: expected a list of CVXPY constraints, got {type(constraints).__name__}")
    given: list[int | None] = []
    numbers: dict[int, int] = {}  # by id
    distinct: list[cp.Constraint] = []
    for position, constraint in enumerate(constraints):
        if isinstance(constraint, cp.Constraint):
            given.append(numbers.setdefault(id(constraint), len(distinct)))
            if given[-1] == len(distinct):
                distinct.append(constraint)
        elif isinstance(constraint, cp.Expression):
            raise ValueError(
                f"constraints[{position}] is an expression ({constraint}), not a constraint: "
                "compare it with something, as in `expression <= 0`"
            )
        elif isinstance(constraint, cp.Problem):
            raise ValueError(f"constraints[{position}] is a CVXPY problem; pass its constraints, `problem.constraints`")
        elif isinstance(constraint, Tensor):
            raise ValueError(
                f"constraints[{position}] is a tensor: a set is declared on a cp.Variable; declare a cp.Parameter for "
                "what a tensor gives, and pass the tensor with the points"
            )
        elif not isinstance(constraint, (bool, np.bool_)):
            raise ValueError(f"constraints[{position}]: expected a CVXPY constraint, got {constraint!r}")
        elif not constraint:
            raise InfeasibleError(f"constraints[{position}] is False: it compares numbers, and does not hold")
        else:
            given.append(None)
    return given, distinct


def check_present(variables: Sequence[cp.Variable], constrained: Sequence[cp.Variable]) -> None:
    """Raise ValueError for a variable that no constraint and no attribute speaks of, where others are constrained."""
    ids = {v.id for v in constrained}
    for variable in variables:
        free = variable.id not in ids and all(a is None or a is False for a in variable.attributes.values())
        if free and constrained:
            others = [v for v in constrained if v.id not in {v.id for v in variables}]
            twins = [v for v in others if v.name() == variable.name()] or [
                v for v in others if v.shape == variable.shape
            ]
            hint = (
                f": they have another variable {twins[0].name()} {tuple(twins[0].shape)}, maybe declared before this "
                "one; write the constraints with the variable that is projected"
                if twins
                else f", which have {', '.join(v.name() for v in constrained)}; leave it out"
            )
            raise ValueError(f"variable {variable.name()} {tuple(variable.shape)} is in no constraint{hint}")


def check_variables(variables: Sequence[Any]) -> None:
    """Raise NotConvexError for variables that cannot be projected."""
    for variable in variables:
        if not isinstance(variable, cp.Variable):
            raise ValueError(f"variables: expected CVXPY variables, got {type(variable).__name__} ({variable})")
        if variable.size == 0:
            raise ValueError(
                f"variable {variable.name()} has shape {tuple(variable.shape)}: it has no entry to project"
            )
        for attribute, reason in _REFUSED.items():
            if variable.attributes[attribute]:
                raise NotConvexError(f"variable {variable.name()} has {attribute}=True: {reason}")


def check_convex(
    positions: Sequence[int], constraints: Sequence[cp.Constraint], variables: Sequence[cp.Variable]
) -> None:
    """Raise NotConvexError or NotParametrizedError for the first constraint or bound that is not DCP, or not DPP."""
    named = [(describe(c, k), c) for k, c in zip(positions, constraints, strict=True)]
    for variable in variables:
        lower, upper = variable.attributes["bounds"] or (None, None)
        for bound, side in ((lower, "lower"), (upper, "upper")):
            if isinstance(bound, cp.Expression):
                constraint = variable >= bound if side == "lower" else variable <= bound
                named.append((f"the {side} bound of variable {variable.name()}", constraint))
    for name, constraint in named:
        if isinstance(constraint, FiniteSet):
            raise NotConvexError(f"{name} restricts an expression to finitely many values, which is not convex.")
        if not constraint.is_dcp():
            raise NotConvexError(f"{name} is not convex by CVXPY's rules (DCP). {_why_not_dcp(constraint)}")
        if not constraint.is_dcp(dpp=True):
            raise NotParametrizedError(f"{name} is convex, but not DPP in its parameters. {_why_not_dpp(constraint)}")
        if isinstance(constraint, (PowCone3D, PowConeND)) and constraint.alpha.parameters():
            raise NotParametrizedError(
                f"{name} has a parameter as the exponent of a power cone, which must be a number."
            )


def _why_not_dcp(constraint: cp.Constraint) -> str:
    culprits = [str(e) for e in _smallest(constraint, lambda e: e.is_dcp())]
    if culprits:
        return f"It breaks the rules in: {'; '.join(culprits)}. See https://dcp.stanford.edu/rules."
    if isinstance(constraint, Equality):
        return "Both sides of == must be affine; replace it by <= where the set you mean is {convex <= concave}."
    if len(constraint.args) == 2 and hasattr(constraint.args[0], "curvature"):
        left, right = constraint.args
        return (
            f"It says that {left} ({left.curvature.lower()}) <= {right} ({right.curvature.lower()}), "
            "but only `convex <= concave` describes a convex set."
        )
    return "Its arguments must be affine."


def _why_not_dpp(constraint: cp.Constraint) -> str:
    culprits = list(_smallest(constraint, lambda expression: expression.is_dpp()))
    if not culprits:
        return (
            "Its two sides must be `convex <= concave` with the parameters counted as variables: "
            "declare a new parameter for the part that depends on parameters only, and compute it in torch."
        )
    advice = "; ".join(_rewrite(culprit) for culprit in culprits)
    return f"The part at fault: {advice}. See https://www.cvxpy.org/tutorial/dpp/index.html."


def _rewrite(expression: Any) -> str:
    """Say how to write the smallest expression that is not DPP."""
    with_parameters = [argument for argument in expression.args if argument.parameters()]
    if type(expression).__name__ == "QuadForm":
        return f"{expression} (write cp.sum_squares(L.T @ x) with a parameter L, where P = L @ L.T)"
    if not expression.variables():
        return f"{expression} (declare one parameter for this whole expression, and compute its value in torch)"
    if len(with_parameters) == 1 and not with_parameters[0].variables():
        return f"{expression} (declare one parameter for {with_parameters[0]}, and compute its value in torch)"
    return (
        f"{expression} (a parameter may multiply only what is free of parameters: declare a new parameter for the "
        "product of parameters, or an auxiliary variable that equals the other factor)"
    )


def _smallest(root: Any, holds: Callable[[Any], bool]) -> Iterator[Any]:
    """Yield the sub-expressions for which `holds` is false while it is true of all their arguments."""
    for argument in root.args:
        if not holds(argument):
            below = list(_smallest(argument, holds))
            yield from below or [argument]
