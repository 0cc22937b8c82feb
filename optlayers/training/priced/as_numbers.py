"""The rows of a declared set as functions of the point: what is zero, and what is nonnegative."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from optlayers.cones.triangle import to_matrix
from optlayers.feasible_set import FeasibleSet
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.relations import Equality, Inequality, Relation


class Slacks(NamedTuple):
    """Rows of the conic form at points, zero or nonnegative, and numbers ``(*batch, k)`` for each cone.

    Of second-order cones that is ``t - ||x||`` and ``t + ||x||``, of semidefinite ones the eigenvalues: nonnegative
    exactly at feasible points, the smallest first.
    """

    zero: Tensor
    nonnegative: Tensor
    cones: list[Tensor]

    def numbers(self, kind: type[Equality | Inequality]) -> Tensor:
        """Return, for one kind of relation, numbers that satisfy it exactly at feasible points."""
        if kind is Equality:
            return self.zero
        return -torch.cat([self.nonnegative, *(cone[..., :1] for cone in self.cones)], -1)


def slacks(constraints: FeasibleSet, point: Tensor) -> Slacks:
    """Return the rows of a set on one variable at points, differentiable in both the points and the parameters.

    Raises ValueError if the rows need auxiliary variables, whose values the point does not give, or there are
    exponential or power cones.
    """
    residual = constraints.compiled.residual
    if residual is None:
        raise ValueError(
            "this set's conic form has auxiliary variables, so its rows are no functions of the point: use the "
            "distance to the set, or write the constraint as a torch function"
        )
    v, bound = constraints.prepare(point)
    zero, nonnegative, *cones = residual.rows(v, bound.values).split(residual.sizes, -1)
    return Slacks(
        zero, nonnegative, [_sides(kind, slack) for (kind, _), slack in zip(residual.cones, cones, strict=True)]
    )


def _sides(kind: str, slack: Tensor) -> Tensor:
    if kind == "soc":
        head, size = slack[..., 0], torch.linalg.vector_norm(slack[..., 1:], dim=-1)
        return torch.stack([head - size, head + size], -1)
    if kind == "psd":
        return torch.linalg.eigvalsh(to_matrix(slack))
    raise ValueError(f"there is no smooth function, and no log barrier, for cones of kind {kind!r}: use the distance")


def as_numbers(member: InSet) -> list[Relation]:
    """Return the rows of a set's conic form, as one `Equality` and one `Inequality`, as far as there are any.

    Second-order cones become ``||x|| - t <= 0``, semidefinite ones minus the smallest eigenvalue; both are smooth at
    points where they can be active, tips and repeated eigenvalues excepted. Rows are those after the presolve: scaled,
    combined, without redundant ones.

    Raises
    ------
    ValueError
        If the set moves, its rows need auxiliary variables, or it has exponential or power cones.
    """
    if member.scheduled_set.moves:
        raise ValueError("the rows of a set that moves are not plain functions: use the set itself, or level=")
    options = {"items": member.items, "average": member.average, "limit": member.limit, "moved": member.moved}
    feasible = member.scheduled_set.at(0)
    example = slacks(feasible, torch.zeros(member.scheduled_set.shape, dtype=torch.float64))
    kinds = [kind for kind in (Equality, Inequality) if example.numbers(kind).shape[-1]]
    return [kind(partial(_numbers, member, feasible, kind), **options) for kind in kinds]


def _numbers(member: InSet, feasible: FeasibleSet, kind: type[Equality | Inequality], *inputs: object) -> Tensor:
    return slacks(feasible, member.values(inputs)).numbers(kind)
