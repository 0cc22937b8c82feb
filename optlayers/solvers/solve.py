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
_FINISHED_CONES = 1e-12
_ROUNDS = ((30, 3), (70, 4), (150, 4))  # steps of the splitting, then of Newton's method
_FEW, _ROUNDS_OF_FEW = 4, ((20, 3), (30, 3), (50, 4))  # samples for which both cost the same
_CLOSE = 0.2  # relative violation after splitting, from which Newton's method is worth a try
_POLISHING = 10
_MEMORY = 2**25  # numbers in the largest temporary tensor


@dataclass
class Answer:
    """Points, duals and relative errors of all samples so far, the steps taken, and points and duals of `work`."""

    x: Tensor
    y: Tensor
    error: Tensor
    steps: int
    own: tuple[Tensor, Tensor] | None = None

    def improve(self, index: Tensor, x: Tensor, y: Tensor, error: Tensor) -> None:
        """Take over what is better, for the samples of `index`."""
        better = error < self.error[index]
        if len(index) == len(self.error) and bool(better.all()):
            self.x, self.y, self.error = x, y, error
            return
        own = index[better]
        self.x[own], self.y[own], self.error[own] = x[better], y[better], error[better]

    def open(self, tolerance: float) -> Tensor:
        """Return the samples whose error is larger."""
        return (self.error > tolerance).nonzero().squeeze(-1)


def solve(formulation: Formulation, splitting: SplittingMap | None, start: Tensor | None) -> Answer:
    """Return the answer in the coordinates of ``formulation.whole``.

    `start` are the user's duals and then the points of nearby problems, NaN where there are none.
    """
    work = formulation.work
    y = torch.zeros_like(work.lower)
    answer = Answer(work.v.clone(), y, torch.full_like(work.scale, torch.inf), 0)
    if work.v.numel():  # else there is no sample, or the equalities leave nothing to choose
        began = None if start is None else _Start.of(formulation, start)
        if work.cones:
            _solve_cones(work, began, answer)
        else:
            _solve_polyhedron(work, splitting, began, answer)
    x, y = formulation.restore(answer.x, answer.y)
    error = answer.error if formulation.whole is work else formulation.whole.error(x, y)
    return Answer(x, y, error, answer.steps, (answer.x, answer.y))


@dataclass(frozen=True, eq=False)
class _Start:
    """Points and duals of `work` to start from, and which samples have them."""

    x: Tensor
    y: Tensor
    known: Tensor

    @staticmethod
    def of(formulation: Formulation, start: Tensor) -> _Start:
        structure = formulation.structure
        known = start.isfinite().all(-1)
        start = torch.where(known.unsqueeze(-1), start, 0.0)
        y = formulation.enter_duals(formulation.whole_duals(start[:, : structure.slacks]))
        x = formulation.enter(start[:, structure.slacks :])
        return _Start(x, y, known)


def _solve_polyhedron(work: Problem, splitting: SplittingMap | None, start: _Start | None, answer: Answer) -> None:
    if start is not None:
        known = start.known.nonzero().squeeze(-1)
        _newton(work, known, start.x[known], start.y[known], _POLISHING, answer)
    if splitting is not None:
        z = None
        own, index = work, _everyone(work) if start is None else answer.open(_FINISHED)
        for steps, newton in _ROUNDS if work.samples > _FEW else _ROUNDS_OF_FEW:
            if len(index) == 0:
                return
            if len(index) < own.samples:
                own = work.select(index)
            x, s, y = splitting.run(own, z, steps)
            answer.steps += steps
            close = (own.apply(x) - s).abs().amax(-1) <= _CLOSE * own.scale
            chosen = close.nonzero().squeeze(-1)
            if len(chosen) == 0:
                break
            rough = work.is_strong and not work.box
            guess = _take(x, chosen), _take(y, chosen)
            _newton(work, _take(index, chosen), *guess, newton, answer, rough=rough)
            keep = (answer.error[index] > _FINISHED).nonzero().squeeze(-1)
            if len(keep) == 0:
                return
            index, z = index[keep], (s - y / splitting.gamma)[keep]
    _interior_point(work, answer)


def _everyone(work: Problem) -> Tensor:
    return torch.arange(work.samples, device=work.v.device)


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Return some rows, in order; the tensor itself where they are all there are."""
    return tensor if len(index) == len(tensor) else tensor[index]


def _newton(
    work: Problem, index: Tensor, x: Tensor, y: Tensor, steps: int, answer: Answer, *, rough: bool = False
) -> None:
    most, first = 0, 0
    for part in chunks(work, index):
        own = work if len(part) == work.samples else work.select(part)
        chosen = slice(first, first + len(part))
        first += len(part)
        point, dual, error, taken = active_set(own, x[chosen], y[chosen], steps, _FINISHED, rough=rough)
        answer.improve(part, point, dual, error)
        most = max(most, taken)
    answer.steps += most


def _interior_point(work: Problem, answer: Answer) -> None:
    most = 0
    for part in chunks(work, answer.open(_SAFEGUARD)):
        own = work.select(part)
        x, y, steps = interior_point(own, _SAFEGUARD)
        answer.improve(part, x, y, own.error(x, y))
        x, y, error, polishing = active_set(own, x, y, _POLISHING, _FINISHED)
        answer.improve(part, x, y, error)
        most = max(most, steps + polishing)
    answer.steps += most


def _solve_cones(work: Problem, start: _Start | None, answer: Answer) -> None:
    for part in chunks(work, answer.open(_FINISHED_CONES)):
        own = work.select(part)
        x, y = own.v, torch.zeros_like(own.lower)
        if start is not None:
            known = start.known[part].unsqueeze(-1)
            x, y = torch.where(known, start.x[part], x), torch.where(known, start.y[part], y)
        x, y, steps = augmented_lagrangian(own, x, y, _FINISHED_CONES)
        answer.improve(part, x, y, own.error(x, y))
        answer.steps = max(answer.steps, steps)


def chunks(work: Problem, index: Tensor) -> tuple[Tensor, ...]:
    """Split samples, so that temporary tensors of the factorisation fit."""
    n, m = work.v.shape[-1], work.rows.shape[-2]
    size = max(1, _MEMORY // max(1, n * max(n, m) if m >= n else m * n))
    return index.split(size) if len(index) else ()
