"""A declared set as plain inequalities and equalities, for methods that know no sets."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.relations import Equality, Inequality, Relation
from optlayers.training.priced.slacks import slacks


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
    result: list[Relation] = []
    if example.zero.shape[-1]:
        result.append(Equality(partial(_equalities, member, feasible), **options))
    if example.scalars().shape[-1]:
        result.append(Inequality(partial(_inequalities, member, feasible), **options))
    return result


def _equalities(member: InSet, feasible: FeasibleSet, *inputs: object) -> Tensor:
    return slacks(feasible, member.values(inputs)).zero


def _inequalities(member: InSet, feasible: FeasibleSet, *inputs: object) -> Tensor:
    return -slacks(feasible, member.values(inputs)).scalars()
