"""What a spelling is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cvxpy as cp


@dataclass(frozen=True)
class Spelling:
    """Constraints on a fresh variable, of four entries by default; `label` is what the recogniser calls the set."""

    label: str
    build: Callable[[cp.Variable], list]
    attributes: dict = field(default_factory=dict)
    size: tuple[int, ...] = (4,)


@dataclass(frozen=True)
class Parametric:
    """Constraints on a variable, of four entries by default, and on parameters, with values of these."""

    values: tuple
    build: Callable[..., list]
    attributes: dict = field(default_factory=dict)
    size: tuple[int, ...] = (4,)
