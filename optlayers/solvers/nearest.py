"""The nearest points of a formulated batch, with the status of each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.formulation import Formulation
from optlayers.solvers.solve import solve
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.status import Status
from optlayers.solvers.structure import Structure
from optlayers.solvers.verdict import least_infeasible

_EXACT, _EXACT_CONES = 1e-9, 1e-10  # see `accuracy_of`
_RELAXED = 1e-6  # the same for least-infeasible points, whose set may have no interior


@dataclass(frozen=True)
class Nearest:
    """The nearest points, in the user's units, and what became of each sample.

    Duals `y` have ``weight (x - v) = A' y``, and are nonnegative where a lower bound holds.
    """

    x: Tensor  # (samples, n)
    y: Tensor  # (samples, slacks of the structure)
    violation: Tensor  # (samples,): the largest distance of a slack to its range; zero without auxiliary entries
    error: Tensor  # (samples,): the relative KKT residual
    status: Tensor  # (samples,): a `Status`
    steps: Tensor  # (samples,)
    shift: Tensor  # (samples, slacks): what bounds are lowered by to make an empty set hold points; else zero
    formulation: Formulation | None = None  # of all samples, where it is at hand
    of_work: tuple[Tensor, Tensor] | None = None  # points and duals in the coordinates of its `work`
    by_core: bool = False  # whether the compiled core solved all samples, and hence knows the derivative


def accuracy_of(structure: Structure, precision: float) -> float:
    """Return the relative KKT residual up to which a sample counts as solved, for data of this relative rounding."""
    return max(precision, _EXACT_CONES if structure.cones else _EXACT)


@torch.no_grad()
def nearest(
    formulation: Formulation, affine: SplittingMap | None, start: Tensor | None, *, relax: bool, precision: float = 0.0
) -> Nearest:
    """Return ``argmin |x - v|`` over the set, without derivatives; of samples that are not solved, the best iterate.

    A `start` is ``(samples, slacks + n)``: duals and points of nearby programs, NaN where there are none. With `relax`,
    samples whose set is empty get the least-infeasible point. No smaller KKT residual than `precision`, the relative
    rounding of the data, is asked for.
    """
    accuracy = accuracy_of(formulation.structure, precision)
    best = solve(formulation, affine, start, accuracy)
    x, y = formulation.restore(best.x, best.y)
    error, status, shift = best.error, torch.zeros_like(best.error, dtype=torch.int64), torch.zeros_like(y)
    index = best.above(accuracy)
    if len(index):
        r, empty = least_infeasible(formulation.whole.select(index))
        status[index] = torch.where(empty, int(Status.INFEASIBLE), int(Status.UNSOLVED))
        if relax and bool(empty.any()):
            chosen = index[empty]
            shift[chosen] = r[empty]
            relaxed = solve(formulation.shifted(chosen, r[empty]), None, None, accuracy)
            x[chosen], y[chosen], error[chosen] = relaxed.x, relaxed.y, relaxed.error
            status[chosen] = torch.where(relaxed.error <= _RELAXED, int(Status.INFEASIBLE), int(Status.UNSOLVED))
    return Nearest(
        formulation.unit * x,
        formulation.user_duals(y),
        formulation.violation(x) if formulation.structure.auxiliary else torch.zeros_like(error),
        error,
        status,
        torch.full_like(status, best.steps),
        formulation.user_slacks(shift),
        formulation,
        (best.x, best.y),
    )
