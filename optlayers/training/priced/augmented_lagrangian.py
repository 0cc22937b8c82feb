"""The method of multipliers: a quadratic penalty whose minimisers multipliers shift until they are feasible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from optlayers.training.priced.adaptive import Adaptive, Weight
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.kkt import largest
from optlayers.training.priced.lagrangian import Lagrangian, Seen, Update
from optlayers.training.priced.relations import Relation
from optlayers.training.schedules.schedules import Schedule


class AugmentedLagrangian(Lagrangian):
    """``objective + sum of (w/2 dist(c + y/w, K)^2 - ||y||^2 / (2 w))``, with the classical update of y.

    That is ``y <- y + w (c - P_K(c + y/w))``: ``max(0, y + w (g - level))`` for inequalities, ``y + w (h - level)`` for
    equalities. Where the optimizer comes close to the minimiser between two steps (``every=k`` leaves it k of its own),
    this converges for convex problems with any weight, faster with larger ones; with one step each it is a damped
    `Lagrangian`.

    Sources: Rockafellar, The multiplier method of Hestenes and Powell applied to convex programming, 1973; Nocedal and
    Wright, Numerical optimization, 2006, section 17.3.

    Parameters
    ----------
    constraints, update, every
        As for `Lagrangian`.
    weight : positive number, function of the step, or Adaptive
        Of the quadratic term; adaptive ones grow for each constraint of its own.
    """

    def __init__(
        self,
        constraints: Relation | Sequence[Relation],
        weight: float | Schedule | Adaptive = 1.0,
        *,
        update: Update = "alternating",
        every: int = 1,
    ) -> None:
        weights = [Weight(weight) for _ in ([constraints] if isinstance(constraints, Relation) else constraints)]
        super().__init__(constraints, controller=PI(1.0), update=update, every=every)
        self._weights = weights

    @property
    def weights(self) -> list[float]:
        """The weight of each constraint."""
        return [weight.at(self.steps) for weight in self._weights]

    def _control(self, k: int) -> PI:
        return PI(self._weights[k].at(self.steps - 1))

    def _term(self, k: int, values: Tensor, index: Tensor | None) -> Tensor:
        weight = self._weights[k].at(self.steps)
        multiplier, _ = self._multiplier(k).rows(index)
        shifted = values + multiplier / weight
        excess = shifted - self.constraints[k].project(shifted.detach(), self.steps)
        return (weight / 2) * excess.square() - multiplier.square() / (2 * weight)

    def _move(self, k: int, seen: Seen) -> None:
        multiplier, weight = self._multiplier(k), self._weights[k]
        if not weight.adapts:
            super()._move(k, seen)
            return
        multiplier.prepare(seen.values, seen.index)
        before = multiplier.value.clone()
        super()._move(k, seen)
        weight.follow(largest([multiplier.value - before]) / weight.at(self.steps - 1))

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"weights": [weight.state for weight in self._weights]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        for weight, stored in zip(self._weights, state["weights"], strict=True):
            weight.state = tuple(stored)
