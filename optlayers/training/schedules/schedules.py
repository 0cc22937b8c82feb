"""Numbers and parameter values that follow the training: constants, or functions of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schedule = Callable[[int], Any]


def value_at(value: Any, step: int) -> Any:
    """Return what a schedule says at a step, counted from zero; anything that is not callable is constant."""
    return value(step) if callable(value) else value


def geometric(start: float, factor: float, *, every: int = 1, limit: float | None = None) -> Schedule:
    """Return the schedule ``start * factor^(step // every)``, which stops at the limit."""
    if not start > 0 or not factor > 0 or every < 1:
        raise ValueError(f"expected start > 0, factor > 0 and every >= 1, got {start}, {factor} and {every}")

    def at(step: int) -> float:
        value = start * factor ** (step // every)
        if limit is None:
            return value
        return min(value, limit) if factor >= 1 else max(value, limit)

    return at


def linear(start: float, end: float, steps: int) -> Schedule:
    """Return the schedule that goes from `start` to `end` in so many steps, and stays there."""
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    return lambda step: start + (end - start) * min(step / steps, 1.0)
