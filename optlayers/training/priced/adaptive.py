"""Penalty weights that grow while the violation does not fall."""

import math
from dataclasses import dataclass

from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.schedules import Schedule, value_at


@dataclass(frozen=True)
class Adaptive:
    """A weight that is multiplied where the violation has not fallen enough since the last step.

    The rule of Nocedal and Wright, Numerical optimization, 2006, framework 17.3, and of Birgin and Martínez, Practical
    augmented Lagrangian methods, 2014.

    Attributes
    ----------
    start, factor, limit : float
        The first weight, what it is multiplied by, and its largest value.
    decrease : float
        The violation should be at most this fraction of the one before.
    tolerance : float
        Violations up to this do not count.
    """

    start: float = 1.0
    factor: float = 10.0
    decrease: float = 0.25
    limit: float = 1e6
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        check_number("start", self.start, above=0.0, most=self.limit)
        check_number("factor", self.factor, above=1.0)
        check_number("decrease", self.decrease, above=0.0, below=1.0)
        check_number("tolerance", self.tolerance, least=0.0)


class Weight:
    """A constant, scheduled or adaptive weight, with what the last needs to remember."""

    def __init__(self, rule: float | Schedule | Adaptive) -> None:
        if not isinstance(rule, Adaptive):
            check_number("weight", rule, above=0.0, or_schedule=True)
        self.rule = rule
        self.state = (rule.start if isinstance(rule, Adaptive) else 0.0, math.inf)

    @property
    def adapts(self) -> bool:
        """Whether the weight depends on the violation."""
        return isinstance(self.rule, Adaptive)

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        if isinstance(self.rule, Adaptive):
            return self.state[0]
        weight = value_at(self.rule, step)
        check_number(f"weight at step {step}", weight, above=0.0)
        return float(weight)

    def adapt(self, violation: float) -> None:
        """Take a violation in; of no effect unless the weight is adaptive."""
        if isinstance(self.rule, Adaptive):
            weight, before = self.state
            if violation > max(self.rule.decrease * before, self.rule.tolerance):
                weight = min(weight * self.rule.factor, self.rule.limit)
            self.state = (weight, violation)
