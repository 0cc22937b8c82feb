"""Constraints for Cooper (Gallego-Posada, Ramirez, Hashemizadeh, Lacoste-Julien, 2025), where that is installed."""

from typing import Any

import torch
from torch import Tensor

from optlayers.errors import extra
from optlayers.training.priced.relations import Equality, Inequality
from optlayers.training.schedules.clock import Clock, Clocked


def _cooper() -> Any:
    with extra("cooper"):
        import cooper
    return cooper


class CooperConstraint(Clocked):
    """An inequality or equality as Cooper's `Constraint`, and its values as `ConstraintState`.

    Register `constraint` in a `cooper.ConstrainedMinimizationProblem`, and return ``{c.constraint: c.state(...)}`` from
    its `compute_cmp_state`. For a declared set, take the constraints that `as_numbers` makes of it.

    Parameters
    ----------
    relation : Inequality or Equality
        With ``items=n`` it gets an `IndexedMultiplier`, else a `DenseMultiplier`; a proxy gives the differentiable
        violation, the function then the strict one. Averages and limits are not Cooper's, and refused.
    size : int, optional
        How many values the function returns; not needed with ``items=n``.
    formulation : type, optional
        Cooper's formulation; `cooper.formulations.Lagrangian` by default.
    penalty : cooper.penalty_coefficients.PenaltyCoefficient, optional
        For formulations that need one.
    dtype, device
        Of the multiplier.
    clock : Clock, optional
        One that others read, too; else `step` counts. Levels that are schedules are those of its step.

    Raises
    ------
    ImportError
        Without Cooper.
    ValueError
        If the relation is none that Cooper has.
    """

    def __init__(
        self,
        relation: Inequality | Equality,
        size: int | None = None,
        *,
        formulation: Any = None,
        penalty: Any = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        cooper = _cooper()
        self.read(clock)
        if not isinstance(relation, (Inequality, Equality)):
            raise ValueError(f"Cooper knows inequalities and equalities: pass as_numbers(...) of {relation!r}")
        if relation.average is not None or relation.limit != float("inf"):
            raise ValueError("Cooper has no averages and no limits of multipliers: use Lagrangian for those")
        if (size is None) == (relation.items is None):
            raise ValueError("pass size, the number of values, for constraints without items=, and only for those")
        multipliers = cooper.multipliers
        make = multipliers.DenseMultiplier if relation.items is None else multipliers.IndexedMultiplier
        formulation = cooper.formulations.Lagrangian if formulation is None else formulation
        options = {"num_constraints": size or relation.items, "dtype": dtype, "device": device}
        self.relation = relation
        self.constraint = cooper.Constraint(
            constraint_type=cooper.ConstraintType[relation.kind.upper()],
            formulation_type=formulation,
            multiplier=make(**options) if formulation.expects_multiplier else None,
            penalty_coefficient=penalty,
        )

    def state(self, *inputs: Any, index: Tensor | None = None) -> Any:
        """Return the `ConstraintState` of these inputs."""
        relation = self.relation
        values = relation.values(inputs)
        level = relation.level_at(self.steps, values)
        if (index is None) != (relation.items is None):
            raise ValueError("pass index, the numbers of the samples, for constraints with items=, and only for those")
        return _cooper().ConstraintState(
            violation=(relation.differentiable(inputs, values) - level).flatten(),
            strict_violation=None if relation.proxy is None else (values.detach() - level).flatten(),
            constraint_features=index,
        )

    @property
    def multiplier(self) -> Tensor:
        """The multiplier's values, without gradient."""
        return self.constraint.multiplier.weight.detach().flatten()
