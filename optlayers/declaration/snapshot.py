"""Copies of constraints on leaves without values, which nothing the user does later can change."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import cvxpy as cp


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is compiled: distinct constraints on copies of the user's leaves, with their names, ids and attributes.

    CVXPY reads the values of leaves while it canonicalises, as a solve has left them; copies have none. Bounds of
    variables are copied too.
    """

    constraints: Sequence[cp.Constraint]
    variables: Sequence[cp.Variable]
    parameters: Sequence[cp.Parameter]
    positions: Sequence[int]  # the numbers that messages call the constraints by

    @staticmethod
    def of(
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
        positions: Sequence[int],
    ) -> "Snapshot":
        """Copy constraints; raise ValueError for one that CVXPY cannot copy."""
        copies: dict[int, Any] = {
            id(p): cp.Parameter(p.shape, name=p.name(), id=p.id, **copy.deepcopy(p.attributes)) for p in parameters
        }
        for v in dict.fromkeys([*variables, *(v for c in constraints for v in c.variables())]):
            copies[id(v)] = _copy_variable(v, copies)
        copied = []
        for constraint in constraints:
            try:
                copied.append(constraint.tree_copy(copies))
            except Exception as error:
                raise ValueError(f"CVXPY has no conic form of {constraint}") from error
        return Snapshot(copied, [copies[id(v)] for v in variables], [copies[id(p)] for p in parameters], positions)

    @property
    def starts(self) -> list[int]:
        """Where the entries of each parameter begin among those of all."""
        return list(accumulate((p.size for p in self.parameters), initial=0))[:-1]

    def only(self, keep: Sequence[int]) -> "Snapshot":
        """Return some of the constraints."""
        return replace(
            self, constraints=[self.constraints[k] for k in keep], positions=[self.positions[k] for k in keep]
        )


def _copy_variable(variable: cp.Variable, copies: dict[int, Any]) -> cp.Variable:
    attributes = dict(variable.attributes)
    bounds = attributes.pop("bounds")
    if bounds:
        bounds = [b.tree_copy(copies) if isinstance(b, cp.Expression) else copy.copy(b) for b in bounds]
    return cp.Variable(
        variable.shape, name=variable.name(), var_id=variable.id, bounds=bounds, **copy.deepcopy(attributes)
    )
