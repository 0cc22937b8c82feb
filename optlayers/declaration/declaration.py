"""What the user declares: constraints, variables and parameters, chosen and checked."""

from collections.abc import Sequence
from typing import Any, get_args

import cvxpy as cp

from optlayers.declaration.diagnosis import check_constraints, check_convex, check_present, check_variables
from optlayers.declaration.snapshot import Snapshot
from optlayers.declaration.wording import some


class Declaration:
    """Checked constraints, each once, the variables to project, all parameters; and their `snapshot`, to be compiled.

    For each item of the user's list, `given` has its number in `constraints`; None for comparisons of numbers. Raises
    as `FeasibleSet`.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint,
        variables: cp.Variable | Sequence[cp.Variable] | None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None,
    ) -> None:
        self.given, self.constraints = check_constraints(constraints)
        positions = [self.given.index(number) for number in range(len(self.constraints))]
        present = list({v.id: v for c in self.constraints for v in c.variables()}.values())
        self.variables = _choose_variables(present, variables)
        check_variables([*self.variables, *present])
        check_present(self.variables, present)
        check_convex(positions, self.constraints, [*self.variables, *present])
        self.parameters = _choose_parameters(self.constraints, [*self.variables, *present], parameters)
        self.snapshot = Snapshot.of(self.constraints, self.variables, self.parameters, positions)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ValueError if the value is not one of a Literal's."""
    if value not in get_args(choices):
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, get_args(choices)))}, got {value!r}")


def _choose_variables(
    present: Sequence[cp.Variable], variables: cp.Variable | Sequence[cp.Variable] | None
) -> list[cp.Variable]:
    if variables is None:
        if not present:
            raise ValueError("the constraints have 0 variables: say which one to project, variables=[...]")
        if len(present) != 1:
            names = ", ".join(some([v.name() for v in present]))
            raise ValueError(
                f"the constraints have {len(present)} variables ({names}): say which to project, variables=[...]"
            )
        return list(present)
    chosen = [variables] if isinstance(variables, cp.Expression) else list(variables)
    if not chosen or len({id(v) for v in chosen}) < len(chosen):
        raise ValueError(f"variables: expected distinct variables, at least one, got {[str(v) for v in chosen]}")
    return chosen


def _choose_parameters(
    constraints: Sequence[cp.Constraint],
    variables: Sequence[cp.Variable],
    parameters: cp.Parameter | Sequence[cp.Parameter] | None,
) -> list[cp.Parameter]:
    bounds = [b for v in variables for b in v.attributes["bounds"] or [] if isinstance(b, cp.Expression)]
    present = list({p.id: p for source in [*constraints, *bounds] for p in source.parameters()}.values())
    for parameter in present:
        if parameter.is_complex():
            raise ValueError(f"parameter {parameter.name()} is complex: only real parameters are supported")
    if parameters is None:
        return present
    chosen = [parameters] if isinstance(parameters, cp.Expression) else list(parameters)
    for parameter in chosen:
        if not isinstance(parameter, cp.Parameter):
            raise ValueError(f"parameters: expected CVXPY parameters, got {type(parameter).__name__} ({parameter})")
    given, needed = {p.id for p in chosen}, {p.id for p in present}
    if given != needed or len(given) < len(chosen):
        missing = ", ".join(p.name() for p in present if p.id not in given) or "none"
        extra = ", ".join(p.name() for p in chosen if p.id not in needed) or "none"
        twice = "; some are given twice" if len(given) < len(chosen) else ""
        raise ValueError(
            "parameters: expected each parameter of the constraints once; "
            f"missing: {missing}; not in the constraints: {extra}{twice}"
        )
    return chosen
