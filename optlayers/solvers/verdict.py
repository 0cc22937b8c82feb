"""What became of each sample: solved, shown to be infeasible, or neither."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from optlayers.solvers.augmented_lagrangian import augmented_lagrangian
from optlayers.solvers.formulation import Formulation
from optlayers.solvers.interior_point import interior_point
from optlayers.solvers.problem import Problem
from optlayers.solvers.solve import Answer, chunks, solve
from optlayers.solvers.status import Status

_SOLVED, _INFEASIBLE, _, _UNSOLVED = map(int, Status)

_EXACT = 1e-9  # the relative KKT residual up to which a sample counts as solved
_EXACT_CONES = 1e-10
_ROUNDING = 1e-15  # times the size of the points
_RELAXED = 1e-6  # the same for least-infeasible points, whose set may have no interior
_EMPTY = 1e-7  # the distance between slacks and their range, relative to the data, from which a set counts as empty
_REACH = 1e5  # relative to the data; a certificate must exclude all points up to this size
_TINY = 1e-7  # multipliers that do not count


def judge(formulation: Formulation, answer: Answer, relax: bool) -> tuple[Tensor, Tensor]:
    """Return the status of each sample and by how much slacks are shifted to make empty sets hold points.

    Samples above the tolerance get the least-infeasible slacks: `r` of least length such that ``A x + r`` is in the
    range for some `x`. Where `r` is not zero, it is itself the proof that the set is empty: ``A' r = 0``, and ``r' s``
    is positive for all slacks `s` of the range (Farkas).

    With `relax`, `answer` is overwritten by the projection onto the set with slacks shifted by `r`, where it is empty.
    """
    whole = formulation.whole
    status = torch.full(answer.error.shape, _SOLVED, dtype=torch.int64, device=answer.error.device)
    rounding = _ROUNDING * whole.scale
    index = (answer.error > rounding + (_EXACT_CONES if whole.cones else _EXACT)).nonzero().squeeze(-1)
    if len(index) == 0:
        return status, whole.lower.new_zeros(len(status), formulation.structure.slacks)
    shift = torch.zeros_like(whole.lower)
    own = whole.select(index)
    r, empty = least_infeasible(own)
    status[index] = torch.where(empty, _INFEASIBLE, _UNSOLVED)
    if relax and bool(empty.any()):
        chosen = index[empty]
        shift[chosen] = r[empty]
        moved = whole.select(chosen)
        moved = replace(moved, lower=moved.lower - r[empty], upper=moved.upper - r[empty])
        nearest = solve(replace(formulation, whole=moved, work=moved, reduction=None, origin=None), None, None)
        answer.x[chosen], answer.y[chosen], answer.error[chosen] = nearest.x, nearest.y, nearest.error
        status[chosen] = torch.where(nearest.error <= _RELAXED, _INFEASIBLE, _UNSOLVED)
    return status, formulation.user_slacks(shift)


def least_infeasible(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return ``argmin |r|`` with ``A x + r`` in the range, ``(samples, slacks)``, and whether that proves emptiness."""
    free = replace(problem, weight=torch.zeros_like(problem.weight), is_strong=False, v=torch.zeros_like(problem.v))
    r = torch.zeros_like(problem.lower)
    for part in chunks(free, torch.arange(free.samples, device=free.v.device)):
        own = free.select(part)
        if own.cones:
            _, y, _ = augmented_lagrangian(own, own.v, torch.zeros_like(own.lower), 1e-13, relaxation=1.0)
        else:
            _, y, _ = interior_point(own, 1e-13, relaxation=1.0)
        r[part] = y
    length = torch.linalg.vector_norm(r, dim=-1)
    direction = r / length.clamp_min(torch.finfo(r.dtype).tiny).unsqueeze(-1)
    direction = torch.where(direction.abs() > _TINY, direction, 0.0)
    mismatch = free.adjoint(direction).abs().sum(-1)
    separation = _support(problem, direction)
    bounds = torch.cat([problem.lower, problem.upper, torch.ones_like(problem.scale.unsqueeze(-1))], -1).abs()
    data = torch.where(bounds.isfinite(), bounds, 1.0).amax(-1).clamp_min(1.0)
    empty = (separation > _EMPTY * data) & (separation > _REACH * data * mismatch)
    return r, empty


def _support(problem: Problem, direction: Tensor) -> Tensor:
    """Return the least ``direction' s`` over the range of linear slacks, plus the part of the cones' offsets."""
    linear = problem.linear
    least = torch.where(direction > 0, problem.lower * direction, problem.upper * direction)
    own = torch.where(direction == 0, 0.0, least)[:, :linear].sum(-1)
    return own + (problem.lower * direction)[:, linear:].sum(-1)
