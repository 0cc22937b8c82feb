"""The convex relaxation of a set with integer and boolean variables."""

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np

from optlayers.declaration.diagnosis import check_constraints
from optlayers.feasible_set import FeasibleSet


class Relaxation:
    """``{y : constraints}`` with continuous copies of the variables, within [0, 1] for booleans: the `feasible_set`.

    The `constraints` and `variables`, in call order, are as declared, with ``integer`` or ``boolean`` entries; of a
    flat point, `discrete` says which entries are either, `boolean` which are the latter. Where some variable that is
    not in `variables` is discrete, the relaxed set does not say whether an integer point is feasible.
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint,
        variables: cp.Variable | Sequence[cp.Variable] | None = None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None = None,
        **options: Any,
    ) -> None:
        self.constraints = check_constraints(constraints)[1]
        given = [variables] if isinstance(variables, cp.Expression) else list(variables or [])
        declared = [v for source in [*self.constraints, *given] for v in source.variables()]
        pairs = {v.id: (v, _continuous(v)) for v in declared}
        copies = {id(v): copy for v, copy in pairs.values()}
        relaxed = [c.tree_copy(copies) for c in self.constraints]
        for v, copy in pairs.values():
            relaxed += _unit_bounds(v, copy)
        chosen = None if variables is None else [copies.get(id(v), v) for v in given]
        if chosen is None and len(pairs) == 1:
            chosen = list(copies.values())
        self.feasible_set = FeasibleSet(relaxed, chosen, parameters, **options)
        originals = {copy.id: v for v, copy in pairs.values()}
        self.variables = [originals[copy.id] for copy in self.feasible_set.variables]
        self.discrete = np.concatenate([(_mask(v, "integer") | _mask(v, "boolean")).ravel() for v in self.variables])
        self.boolean = np.concatenate([_mask(v, "boolean").ravel() for v in self.variables])
        chosen_ids = {v.id for v in self.variables}
        self.has_discrete_auxiliaries = any(
            v.attributes["integer"] or v.attributes["boolean"] for v, _ in pairs.values() if v.id not in chosen_ids
        )
        if not self.discrete.any() and not self.has_discrete_auxiliaries:
            names = ", ".join(v.name() for v in self.variables)
            raise ValueError(f"no variable is integer or boolean ({names}): use ProjectionLayer, which is exact")


def _continuous(variable: cp.Variable) -> cp.Variable:
    attributes = variable.attributes | {"integer": False, "boolean": False}
    if variable.attributes["boolean"] is True and attributes["bounds"] is None:
        attributes["bounds"] = [0, 1]
    return cp.Variable(variable.shape, name=variable.name(), **attributes)


def _unit_bounds(variable: cp.Variable, copy: cp.Variable) -> list[cp.Constraint]:
    """Return 0 <= copy <= 1 on boolean entries, where they are no bounds of the copy yet."""
    mask = _mask(variable, "boolean")
    if not mask.any() or (mask.all() and variable.attributes["bounds"] is None):
        return []
    entries = copy if mask.all() else copy[np.nonzero(mask)]
    return [entries >= 0, entries <= 1]


def _mask(variable: cp.Variable, attribute: str) -> np.ndarray:
    """Return which entries have the attribute, in the variable's shape."""
    value = variable.attributes[attribute]
    if isinstance(value, bool):
        return np.full(variable.shape, value)
    index = tuple(np.asarray(part) for part in value)
    if len(index) != len(variable.shape):
        raise ValueError(
            f"variable {variable.name()}: {attribute}={value} has {len(index)} parts, but CVXPY takes one list of "
            f"indices for each of the {len(variable.shape)} dimensions, as numpy.nonzero returns them"
        )
    mask = np.zeros(variable.shape, dtype=bool)
    mask[index] = True
    return mask
