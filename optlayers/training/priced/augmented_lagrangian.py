"""The method of multipliers: a quadratic penalty whose minimisers multipliers shift until they are feasible."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from optlayers.training.priced.adaptive import Adaptive, Weight
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.kkt import largest
from optlayers.training.priced.lagrangian import Lagrangian, Update
from optlayers.training.priced.relations import Relation
from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.schedules import Schedule

_STEPS = 50  # of the optimizer, in which multipliers go the classical way: Adam at small rates needs that many


class AugmentedLagrangian(Lagrangian):
    """``objective + sum of (w/2 dist(c + y/w, K)^2 - ||y||^2 / (2 w))``, with multipliers y that go to the classical.

    These are ``y + w (c - P_K(c + y/w))``: ``max(0, y + w (g - level))`` for inequalities, ``y + w (h - level)`` for
    equalities. The classical method goes there at once, which converges for convex problems with any weight, faster
    with larger ones, where the optimizer has come close to the minimiser in between. With a few steps of an
    optimizer in between, and momentum, it oscillates and diverges: momentum answers late. Multipliers therefore go a
    share of the way, `relaxation`.

    Sources: Rockafellar, The multiplier method of Hestenes and Powell applied to convex programming, 1973; Nocedal and
    Wright, Numerical optimization, 2006, section 17.3.

    Parameters
    ----------
    constraints, update, every, clock
        As for `Lagrangian`.
    weight : positive number, function of the step, or Adaptive
        Of the quadratic term; adaptive ones grow for each constraint of its own. Where the objective is much more
        curved than this, multipliers are slow to arrive; where it is much less so, the sum is badly conditioned.
    relaxation : float, optional
        In (0, 1]. The default is ``every / 50``, at most 1. For the limit of small steps, momentum of b (0.9 in
        Adam) and an objective without curvature, ``relaxation < every (1 - b) / b`` is stable. It is 1 where each
        update comes after a full minimisation, by L-BFGS say.
    """

    def __init__(
        self,
        constraints: Relation | Sequence[Relation],
        weight: float | Schedule | Adaptive = 1.0,
        *,
        relaxation: float | None = None,
        update: Update = "alternating",
        every: int = 1,
        clock: Clock | None = None,
    ) -> None:
        weights = [Weight(weight) for _ in ([constraints] if isinstance(constraints, Relation) else constraints)]
        super().__init__(constraints, controller=PI(1.0), update=update, every=every, clock=clock)
        if relaxation is not None:
            check_number("relaxation", relaxation, above=0.0, most=1.0)
        self._weights = weights
        self._share = min(1.0, self.every / _STEPS) if relaxation is None else relaxation

    @property
    def weights(self) -> list[float]:
        """The weight of each constraint."""
        return [weight.at(self.steps) for weight in self._weights]

    def _control(self, k: int) -> PI:
        return PI(self._weights[k].at(self.steps))

    def _term(self, k: int, values: Tensor, multiplier: Tensor, anchor: Tensor) -> Tensor:
        weight = self._weights[k].at(self.steps)
        shifted = values + multiplier / weight
        excess = shifted - self.constraints[k].project(shifted.detach(), self.steps)
        return (weight / 2) * excess.square() - multiplier.square() / (2 * weight)

    def _move(self, k: int, values: Tensor, index: Tensor | None) -> None:
        """Move, and judge adaptive weights when multipliers have had the time for a classical step."""
        multiplier, weight = self._multiplier(k), self._weights[k]
        multiplier.rows(values, index)
        before = multiplier.value.clone() if weight.adapts else multiplier.value
        super()._move(k, values, index)
        if weight.adapts and self.steps // self.every % round(1 / self._share) == 0:
            weight.adapt(largest([multiplier.value - before]) / (self._share * weight.at(self.steps)))

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"weights": [weight.state for weight in self._weights]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        for weight, stored in zip(self._weights, state["weights"], strict=True):
            weight.state = tuple(stored)
