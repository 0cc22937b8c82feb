"""The order of work in torch, for what is left each time: splitting, Newton on the active set, safeguards."""

from dataclasses import replace

import torch
from torch import Tensor

from optlayers.solvers.active_set import active_set
from optlayers.solvers.augmented_lagrangian import augmented_lagrangian
from optlayers.solvers.conic_program import ConicProgram, largest
from optlayers.solvers.formulation import Formulation
from optlayers.solvers.interior_point import interior_point
from optlayers.solvers.iteration import Best, Limits
from optlayers.solvers.splitting import SplittingMap, splitting

_FAR = 1e4  # from the set, in units of it
_ROUNDS = 5
_FINISHED = 1e-12  # relative KKT residual; what is above goes on to the next method
_POLISHING = Limits(_FINISHED, 10)
_SAFEGUARD = Limits(1e-11, 100, 25)


def cone_limits(accuracy: float, tolerance: float = _FINISHED) -> Limits:
    """Return when the method for cones stops, if `accuracy` is enough."""
    return Limits(tolerance, 300, 60, accuracy)


def solve(formulation: Formulation, affine: SplittingMap | None, start: Tensor | None, accuracy: float) -> Best:
    """Return the best points and duals of ``formulation.work``, with their errors in ``formulation.whole``.

    `start` are the user's duals and then the points of nearby programs, NaN where there are none. A start that is no
    better than none is dropped, and where one does not lead to `accuracy`, the sample begins again without.
    """
    work = formulation.work
    best = Best.of(work)
    if work.v.numel():  # else there is no sample, or the equalities leave nothing to choose
        if start is not None:
            _solve_from(formulation, start, best, accuracy)
        _solve(work, affine, best, accuracy)
        _solve_far(work, affine, best, accuracy)
    if formulation.whole is not work or not work.v.numel():
        best.error = formulation.whole.error(*formulation.restore(best.x, best.y))
    return best


def _solve_from(formulation: Formulation, start: Tensor, best: Best, accuracy: float) -> None:
    work, slacks = formulation.work, formulation.structure.slacks
    known = start.isfinite().all(-1)
    start = torch.where(known.unsqueeze(-1), start, 0.0)
    x, y = formulation.enter(start[:, slacks:], start[:, :slacks])
    better = work.error(x, y) < work.error(work.v, torch.zeros_like(y))
    index = (known & better).nonzero().squeeze(-1)
    if work.cones:
        best.run(work, index, lambda program, k: augmented_lagrangian(program, x[k], y[k]), cone_limits(accuracy))
    else:
        best.run(work, index, lambda program, k: active_set(program, x[k], y[k]), _POLISHING)


def _solve(work: ConicProgram, affine: SplittingMap | None, best: Best, accuracy: float) -> None:
    """Improve the samples that are not solved, from their points."""
    if work.cones:
        zero = torch.zeros_like(work.lower)
        method = lambda program, k: augmented_lagrangian(program, program.v, zero[k])  # noqa: E731
        best.run(work, best.above(accuracy), method, cone_limits(accuracy))
        return
    index = best.above(_FINISHED)
    if affine is not None and len(index):
        best.drive(index, splitting(work.select(index), affine, _FINISHED), Limits(_FINISHED, 3))
    index = best.above(_SAFEGUARD.tolerance)
    if len(index):
        best.run(work, index, lambda program, k: interior_point(program), _SAFEGUARD)
        best.run(work, index, lambda program, k: active_set(program, best.x[k], best.y[k]), _POLISHING)


def _solve_far(work: ConicProgram, affine: SplittingMap | None, best: Best, accuracy: float) -> None:
    """Improve samples whose points are so far from the set that rounding spoils the answer.

    The projection `x` of `v` is also that of ``x + t (v - x)`` for all ``t >= 0``: a fixed point, found in few rounds,
    as projections of far points hardly move with them.
    """
    index = ((best.error > accuracy) & (work.scale > _FAR)).nonzero().squeeze(-1)
    x = best.x[index]
    for _ in range(_ROUNDS):
        if len(index) == 0:
            return
        part = work.select(index)
        t = (_FAR * largest(x).clamp_min(1.0) / part.scale).clamp_max(1.0).unsqueeze(-1)
        near = replace(part, v=x + t * (part.v - x))
        inner = Best.of(near)
        _solve(near, affine, inner, accuracy)
        x, y = inner.x, inner.y / t
        best.improve(index, x, y, part.error(x, y))
        best.steps += inner.steps
        keep = best.error[index] > accuracy
        index, x = index[keep], x[keep]
