"""The nearest points of a formulated batch, with the status of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.formulation import Formulation
from optlayers.solvers.solve import solve
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.verdict import judge


@dataclass(frozen=True)
class Nearest:
    """What the solver found, in the user's units.

    Attributes
    ----------
    x, y : Tensor, shape (samples, n), (samples, slacks of the structure)
        Points, and duals: ``weight (x - v) = A' y``, nonnegative where a lower bound holds.
    violation : Tensor, shape (samples,)
        The largest distance of a slack to its range, in the user's units; zero without auxiliary entries, where it can
        be computed from the point.
    status : Tensor of int, shape (samples,)
        0 solved, 1 the set is empty, 3 neither could be shown.
    steps : Tensor of int, shape (samples,)
    shift : Tensor, shape (samples, slacks of the structure)
        What bounds are lowered by, in the user's units, to make an empty set hold points: zero where it is not empty,
        or not asked for.
    own : tuple of Tensor, or None
        Points and duals in the solver's own coordinates, where all samples are solved and the formulation is at hand.
    """

    x: Tensor
    y: Tensor
    violation: Tensor
    status: Tensor
    steps: Tensor
    shift: Tensor
    own: tuple[Tensor, Tensor] | None = None


@torch.no_grad()
def nearest(formulation: Formulation, splitting: SplittingMap | None, start: Tensor | None, *, relax: bool) -> Nearest:
    """Return ``argmin |x - v|`` over the set, without derivatives.

    Parameters
    ----------
    start : Tensor, shape (samples, slacks + n), or None
        Duals and points of nearby problems; NaN where there are none.
    relax : bool
        Whether samples whose set is empty get the least-infeasible point.
    """
    answer = solve(formulation, splitting, start)
    status, shift = judge(formulation, answer, relax)
    return Nearest(
        answer.x,
        formulation.user_duals(answer.y),
        formulation.violation(answer.x) if formulation.structure.auxiliary else torch.zeros_like(answer.error),
        status,
        torch.full_like(status, answer.steps),
        shift,
        answer.own,
    )
