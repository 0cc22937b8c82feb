"""Numbers and parameter values that change in training: constants, or functions of the step."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from optlayers.training.schedules.arguments import check_count, check_number

Schedule = Callable[[int], Any]


def value_at(value: Any, step: int) -> Any:
    """Return what a schedule says at a step, counted from zero; anything that is not callable is constant."""
    return value(step) if callable(value) else value


@dataclass(frozen=True)
class geometric:  # noqa: N801 (called as a function)
    """The schedule ``start * factor^(step // every)``, which stops at the limit."""

    start: float
    factor: float
    _: KW_ONLY
    every: int = 1
    limit: float | None = None

    def __post_init__(self) -> None:
        check_number("start", self.start, above=0.0)
        check_number("factor", self.factor, above=0.0)
        check_count("every", self.every)
        if self.limit is not None:
            check_number("limit", self.limit)

    def __call__(self, step: int) -> float:
        value = self.start * self.factor ** (step // self.every)
        if self.limit is None:
            return value
        return min(value, self.limit) if self.factor >= 1 else max(value, self.limit)


@dataclass(frozen=True)
class linear:  # noqa: N801 (called as a function)
    """The schedule that goes from `start` to `end` in so many steps, and stays there."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_number("start", self.start)
        check_number("end", self.end)

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)
