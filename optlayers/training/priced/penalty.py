"""Penalties: what a loss gets for a violated constraint."""

from typing import Any, Literal

import torch
from torch import Tensor

from optlayers.declaration.declaration import check_choice
from optlayers.training.priced.adaptive import Adaptive, Weight
from optlayers.training.priced.as_numbers import slacks
from optlayers.training.priced.barrier import Outside, log_barrier
from optlayers.training.priced.in_set import InSet, first_input
from optlayers.training.priced.relations import Equality, Function, Inequality, Relation
from optlayers.training.schedules.clock import Clock, ClockedModule
from optlayers.training.schedules.scheduled_set import Constraints
from optlayers.training.schedules.schedules import Schedule

Kind = Literal["quadratic", "exact", "log_barrier"]
Measure = Literal["distance", "residual"]


class Penalty(ClockedModule):
    """A scalar to add to the loss: ``loss + penalty(*inputs)``; after the optimizer's step, ``penalty.step()``.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet, optional
        That the first input is in; dimensions before the variable's are independent members.
    inequality, equality : callable or Relation, optional
        Functions of all inputs whose values should be at most zero, and zero.
    kind : {"quadratic", "exact", "log_barrier"}
        With d the distances of members of a set to it, or the violations of values:
        "quadratic", ``weight/2 sum d^2``, is smooth; its minimisers are infeasible, by ``||y|| / weight`` for
        multipliers y. "exact", ``weight sum d``, has the constrained minimiser itself once the weight exceeds the norm
        of the multiplier (Euclidean for a member of a set, absolute for values), and a kink there, which fixed step
        sizes jump across. "log_barrier", ``-weight sum log(slack)``, stays strictly inside, by ``weight`` per slack and
        unit of multiplier, and becomes accurate as the weight falls; equalities then get ``h^2 / (2 weight)``.
    weight : positive number, function of the step, or Adaptive
        `geometric` is a schedule. Adaptive weights grow; a barrier's should fall, so it takes none.
    measure : {"distance", "residual"}
        Of a set: ``||v - P(v)||``, or the norm of `FeasibleSet.residual`, the violations of its rows, which takes no
        projection but depends on how the set is written.
    reduction : {"sum", "mean"}
        Over the members of a set and over values.
    outside : {"raise", "inf", "extend"}
        What a barrier does at points that are not strictly feasible, see `log_barrier`.
    clock : Clock, optional
        One that others read, too; else `step` counts.

    Notes
    -----
    Derivatives of distances are exact to first order; second derivatives treat the projection as constant.

    Examples
    --------
    >>> penalty = Penalty([x >= 0, cp.sum(x) == 1], weight=geometric(1.0, 1.1, every=100))  # doctest: +SKIP
    >>> (loss + penalty(net(batch))).backward()  # doctest: +SKIP
    >>> optimizer.step(), penalty.step()  # doctest: +SKIP
    """

    def __init__(
        self,
        constraints: Constraints | None = None,
        *,
        inequality: Function | Inequality | None = None,
        equality: Function | Equality | None = None,
        kind: Kind = "quadratic",
        weight: float | Schedule | Adaptive = 1.0,
        measure: Measure = "distance",
        reduction: Literal["sum", "mean"] = "sum",
        outside: Outside = "raise",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        check_choice("kind", kind, Kind)
        check_choice("measure", measure, Measure)
        check_choice("reduction", reduction, Literal["sum", "mean"])
        check_choice("outside", outside, Outside)
        if kind == "log_barrier" and isinstance(weight, Adaptive):
            raise ValueError("a barrier's weight has to fall, adaptive ones grow: pass geometric(start, factor < 1)")
        self.constraints: list[Relation] = []
        if constraints is not None:
            self.constraints.append(InSet(first_input, constraints))
        for given, relation in ((inequality, Inequality), (equality, Equality)):
            if given is not None:
                self.constraints.append(given if isinstance(given, relation) else relation(given))
        if not self.constraints:
            raise ValueError("nothing to penalise: pass constraints, inequality= or equality=")
        if any(c.items is not None or c.average is not None for c in self.constraints):
            raise ValueError("items= and average= are for Lagrangians; penalties have no multipliers, and no memory")
        self.kind, self.measure, self.reduction = kind, measure, reduction
        self.outside: Outside = outside
        self._weight = Weight(weight)
        self._violation: Tensor | None = None

    @property
    def weight(self) -> float:
        """The weight at this step."""
        return self._weight.at(self.steps)

    def forward(self, *inputs: Any) -> Tensor:
        """Return the penalty, a scalar."""
        terms = []
        for relation in self.constraints:
            values = relation.surrogate(inputs, relation.values(inputs))
            terms.append((self._barrier if self.kind == "log_barrier" else self._distance)(relation, values))
        return sum(terms[1:], terms[0])

    def _distance(self, relation: Relation, values: Tensor) -> Tensor:
        if isinstance(relation, InSet) and self.measure == "residual":
            distances = torch.linalg.vector_norm(relation.scheduled_set.at(self.steps).residual(values), dim=-1)
        else:
            distances = relation.distances(values, self.steps)
        if self._weight.adapts and self.training and torch.is_grad_enabled() and distances.numel():
            worst = distances.detach().max()
            self._violation = worst if self._violation is None else torch.maximum(self._violation, worst)
        powers = distances.square() / 2 if self.kind == "quadratic" else distances
        return self.weight * (powers.mean() if self.reduction == "mean" else powers.sum())

    def _barrier(self, relation: Relation, values: Tensor) -> Tensor:
        count = values.numel()
        if isinstance(relation, InSet):
            rows = slacks(relation.scheduled_set.at(self.steps), values)
            inside = torch.cat([rows.nonnegative, *rows.cones], -1)
            term = log_barrier(inside, self.weight, self.outside).sum()
            term = term + rows.zero.square().sum() / (2 * self.weight)
            count = relation.norms(values.detach()).numel()
        elif isinstance(relation, Inequality):
            term = log_barrier(relation.slacks(values, self.steps), self.weight, self.outside).sum()
        else:
            term = relation.distances(values, self.steps).square().sum() / (2 * self.weight)
        return term / max(count, 1) if self.reduction == "mean" else term

    @torch.no_grad()
    def prox_(self, tensor: Tensor, lr: float) -> Tensor:
        """Move a parameter, in place, to ``argmin_u penalty(u) + ||u - tensor||^2 / (2 lr)``, and return it.

        In place of a term of the loss, for a set: after a step of plain gradient descent with this `lr`. Subgradients
        of an exact penalty jump across its kink, so decreasing steps are needed, and the error falls like the step;
        this converges linearly, to the constrained minimiser itself where the weight is large enough. Members move
        toward their projections: all the way when nearer than ``lr weight``. Raises ValueError unless the penalty is
        the sum of distances, or of their squares, to one set.
        """
        if len(self.constraints) != 1 or not isinstance(self.constraints[0], InSet):
            raise ValueError(
                "prox_ needs a penalty of a declared set, and nothing else; add other penalties to the loss"
            )
        if self.kind == "log_barrier" or self.measure != "distance" or self.reduction != "sum":
            raise ValueError('prox_ needs kind "quadratic" or "exact", measure="distance" and reduction="sum"')
        relation, reach = self.constraints[0], lr * self.weight
        relation.scheduled_set.check(tensor, "the parameter")
        toward = relation.project(tensor, self.steps) - tensor
        distances = relation.norms(toward)
        if self._weight.adapts and distances.numel():
            self._violation = distances.max()
        if self.kind == "quadratic":
            return tensor.add_(toward, alpha=reach / (1 + reach))
        share = (reach / distances.clamp_min(torch.finfo(tensor.dtype).tiny)).clamp_max(1.0)
        return tensor.add_(toward * share.reshape((*share.shape, *[1] * (tensor.ndim - share.ndim))))

    def step(self) -> None:
        """Count a step, unless the clock was given; adaptive weights grow if the violation has not fallen."""
        self._tick()
        if self._violation is not None:
            self._weight.adapt(float(self._violation))
            self._violation = None

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"weight": self._weight.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._weight.state = tuple(state["weight"])
