"""The order of work: splitting, Newton on the guessed active set, then the safeguards, for what is left each time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.active_set import active_set
from optlayers.solvers.augmented_lagrangian import augmented_lagrangian
from optlayers.solvers.formulation import Formulation
from optlayers.solvers.interior_point import interior_point
from optlayers.solvers.problem import Problem
from optlayers.solvers.splitting import SplittingMap

_FINISHED = 1e-12  # relative KKT residual; what is above goes on to the next method
_SAFEGUARD = 1e-11
_ROUNDS = ((50, 3), (75, 4))  # steps of the splitting, then of Newton's method
_CLOSE = 0.2  # relative violation after splitting, from which Newton's method is worth a try
_POLISHING = 10
_MEMORY = 2**25  # numbers in the largest temporary tensor


@dataclass
class Answer:
    """Points, duals and relative errors of all samples so far, and the steps taken."""

    x: Tensor
    y: Tensor
    error: Tensor
    steps: int

    def improve(self, index: Tensor, x: Tensor, y: Tensor, error: Tensor) -> None:
        """Take over what is better, for the samples of `index`."""
        better = error < self.error[index]
        own = index[better]
        self.x[own], self.y[own], self.error[own] = x[better], y[better], error[better]

    def open(self, tolerance: float) -> Tensor:
        """Return the samples whose error is larger."""
        return (self.error > tolerance).nonzero().squeeze(-1)


def solve(formulation: Formulation, splitting: SplittingMap | None, start: Tensor | None) -> Answer:
    """Return the answer in the coordinates of ``formulation.whole``; `start` are duals there, of nearby problems."""
    work = formulation.work
    y = torch.zeros_like(work.lower)
    answer = Answer(work.v.clone(), y, torch.full_like(work.scale, torch.inf), 0)
    if work.samples:
        if start is not None:
            start = formulation.enter_duals(start)
        if work.cones:
            _solve_cones(work, start, answer)
        else:
            _solve_polyhedron(work, splitting, start, answer)
    x, y = formulation.restore(answer.x, answer.y)
    error = answer.error if formulation.whole is work else formulation.whole.error(x, y)
    return Answer(x, y, error, answer.steps)


def _solve_polyhedron(work: Problem, splitting: SplittingMap | None, start: Tensor | None, answer: Answer) -> None:
    if start is not None and work.is_strong:
        _newton(work, torch.arange(work.samples, device=work.v.device), start, _POLISHING, answer)
    if splitting is not None:
        z = None
        own, index = work, answer.open(_FINISHED)
        for steps, newton in _ROUNDS:
            if len(index) == 0:
                return
            if len(index) < own.samples:
                own = work.select(index)
            s, y = splitting.run(own, z, steps)
            answer.steps += steps
            x = own.v + own.adjoint(y)
            close = (own.apply(x) - s).abs().amax(-1) <= _CLOSE * own.scale
            chosen = close.nonzero().squeeze(-1)
            if len(chosen) == 0:
                break
            _newton(work, index[chosen], y[chosen], newton, answer)
            keep = (answer.error[index] > _FINISHED).nonzero().squeeze(-1)
            index, z = index[keep], (s - y / splitting.gamma)[keep]
    _interior_point(work, answer)


def _newton(work: Problem, index: Tensor, y: Tensor, steps: int, answer: Answer) -> None:
    answer.steps += steps
    for part in chunks(work, index):
        own = work if len(index) == work.samples == len(part) else work.select(part)
        dual = y if len(part) == len(index) else y[torch.isin(index, part)]
        x, dual, error = active_set(own, own.v + own.adjoint(dual), dual, steps, _FINISHED)
        answer.improve(part, x, dual, error)


def _interior_point(work: Problem, answer: Answer) -> None:
    steps = 0
    for part in chunks(work, answer.open(_SAFEGUARD)):
        own = work.select(part)
        x, y, own_steps = interior_point(own, _SAFEGUARD)
        x, y, error = active_set(own, x, y, _POLISHING, _FINISHED)
        answer.improve(part, x, y, error)
        steps = max(steps, own_steps + _POLISHING)
    answer.steps += steps


def _solve_cones(work: Problem, start: Tensor | None, answer: Answer) -> None:
    for part in chunks(work, answer.open(_FINISHED)):
        own = work.select(part)
        y = torch.zeros_like(own.lower) if start is None else start[part]
        x = own.v + own.adjoint(y) if own.is_strong else own.v
        x, y, steps = augmented_lagrangian(own, x, y, _FINISHED)
        answer.improve(part, x, y, own.error(x, y))
        answer.steps = max(answer.steps, steps)


def chunks(work: Problem, index: Tensor) -> tuple[Tensor, ...]:
    """Split samples, so that temporary tensors of the factorisation fit."""
    n, m = work.v.shape[-1], work.rows.shape[-2]
    size = max(1, _MEMORY // max(1, n * max(n, m) if m >= n else m * n))
    return index.split(size) if len(index) else ()
