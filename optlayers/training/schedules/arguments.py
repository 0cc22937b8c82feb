"""Checks of numbers that users pass: what arrived, and what was expected."""

import math
import operator
from typing import Any


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return an integer, at least `least`; raise ValueError for anything else, ``1.5`` and ``True`` included."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool) or count < least:
        raise ValueError(f"{name}: expected an integer, {name} >= {least}, got {value!r}")
    return count


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    or_schedule: bool = False,
) -> None:
    """Raise ValueError unless the value is a finite number with ``above < value < below``, ``least <= value <= most``.

    With `or_schedule`, functions of the step pass, too.
    """
    if or_schedule and callable(value):
        return
    try:
        number = math.nan if isinstance(value, (str, bytes, bool)) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if above < number < below and least <= number <= most:
        return
    limits = [(">", above), (">=", least), ("<", below), ("<=", most)]
    conditions = " and ".join(f"{name} {sign} {limit:g}" for sign, limit in limits if math.isfinite(limit))
    expected = ", ".join(filter(None, ["a number", conditions])) + " or a function of the step" * or_schedule
    raise ValueError(f"{name}: expected {expected}, got {value!r}")
