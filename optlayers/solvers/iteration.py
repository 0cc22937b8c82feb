"""The one loop of all methods: each sample's best iterate is kept, and finished samples leave the batch."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.solvers.conic_program import ConicProgram

_MEMORY = 2**25  # numbers in the largest temporary tensor
_PROGRESS = 0.9  # an error below this part of the lowest one is progress
_PATIENCE_WHEN_GOOD = 6  # steps without progress


@dataclass(frozen=True)
class Iterate:
    """Where a method stands after a step, of the samples that are left."""

    x: Tensor  # (samples, n)
    y: Tensor  # (samples, slacks): duals
    error: Tensor  # (samples,): the relative KKT residual
    merit: Tensor | None = None  # (samples,): another number whose decrease is progress
    moving: Tensor | None = None  # (samples,): where another step would change something
    steps: int = 1  # what the step counts as


Method = Generator[Iterate, Tensor | None, None]
"""Yields an iterate a step, and is sent which of its samples go on; None: all of them."""


@dataclass(frozen=True)
class Limits:
    """When a method stops: at an error of `tolerance`, after `steps`, or after `patience` steps without progress.

    Below an error of `good`, few steps without progress are enough.
    """

    tolerance: float
    steps: int
    patience: int | None = None
    good: float = 0.0


@dataclass
class Best:
    """The best points, duals and errors so far, of all samples of a program, and the steps taken."""

    x: Tensor
    y: Tensor
    error: Tensor
    steps: int = 0

    @staticmethod
    def of(program: ConicProgram) -> "Best":
        """Return the given points, of infinite error."""
        return Best(program.v.clone(), torch.zeros_like(program.lower), torch.full_like(program.scale, torch.inf))

    def above(self, tolerance: float) -> Tensor:
        """Return the samples whose error is larger."""
        return (self.error > tolerance).nonzero().squeeze(-1)

    def improve(self, index: Tensor, x: Tensor, y: Tensor, error: Tensor) -> None:
        """Take over what is better, for the samples of `index`."""
        better = error < self.error[index]
        if len(index) == len(self.error) and bool(better.all()):
            self.x, self.y, self.error = x.clone(), y.clone(), error.clone()
            return
        chosen = index[better]
        self.x[chosen], self.y[chosen], self.error[chosen] = x[better], y[better], error[better]

    def run(
        self, program: ConicProgram, index: Tensor, method: Callable[[ConicProgram, Tensor], Method], limits: Limits
    ) -> None:
        """Improve the samples of `index` by ``method(program of some of them, their numbers)``, a chunk at a time."""
        before = most = self.steps
        for part in chunks(program, index):
            self.steps = before
            self.drive(part, method(program.select(part), part), limits)
            most = max(most, self.steps)
        self.steps = most

    def drive(self, left: Tensor, method: Method, limits: Limits) -> None:
        """Improve some samples by a method for all of them at once."""
        keep = None
        lowest = merit = idle = torch.full_like(self.error[left], torch.inf)
        for _ in range(limits.steps):
            try:
                now = method.send(keep)
            except StopIteration:
                return
            self.steps += now.steps
            self.improve(left, now.x, now.y, now.error)
            progress = now.error < _PROGRESS * lowest
            lowest = torch.minimum(now.error, lowest)
            going = lowest > limits.tolerance
            if now.moving is not None:
                going = going & now.moving
            if limits.patience is not None:
                if now.merit is not None:
                    progress, merit = progress | (now.merit < _PROGRESS * merit), torch.minimum(now.merit, merit)
                idle = torch.where(progress, 0.0, idle + 1)
                going = going & (idle <= torch.where(lowest <= limits.good, _PATIENCE_WHEN_GOOD, limits.patience))
            keep = None
            if not bool(going.all()):
                keep = going.nonzero().squeeze(-1)
                if len(keep) == 0:
                    return
                left, lowest, merit, idle = left[keep], lowest[keep], merit[keep], idle[keep]


def chunks(program: ConicProgram, index: Tensor) -> tuple[Tensor, ...]:
    """Split samples, so that temporary tensors of the factorisation fit."""
    n, m = program.v.shape[-1], program.rows.shape[-2]
    size = max(1, _MEMORY // max(1, n * max(n, m)))
    return index.split(size) if len(index) else ()
