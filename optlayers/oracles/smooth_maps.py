"""Smooth maps from free parameters onto the interior of a set."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from optlayers.oracles.oracle import Oracle
from optlayers.sets.base import ClosedFormSet

_M = TypeVar("_M", bound="type[SmoothMap]")

smooth_map = Oracle(
    "smooth map onto",
    'register_smooth_map adds one. how="projection" takes every set, and so do the other strategies: projected steps, '
    "penalties and multipliers",
    is_isometric=True,
)
"""Asked nothing; the answer is a `SmoothMap` class, chosen once, by the values at the start."""


class SmoothMap(ABC):
    """A smooth map from tensors ``(*batch, blocks, n)`` without constraints onto the relative interior of a set.

    Free parameters have the shape of the points; of a redundant map (softmax) several give one point.

    Parameters
    ----------
    bound : ClosedFormSet
        An instance of the kind that the map is registered for; its fields are tensors ``(*batch, blocks, ...)``.

    Attributes
    ----------
    is_bijective : bool
        Whether free parameters and points of the set's interior, in all dimensions, are one to one.
    """

    is_bijective: bool = False

    def __init__(self, bound: Any) -> None:
        self.bound = bound

    @classmethod
    def serves(cls, bound: Any) -> bool:
        """Whether there is such a map for this set; asked once, of the values at the start."""
        return True

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """Return the point of the set."""

    @abstractmethod
    def inverse(self, y: Tensor, margin: float) -> Tensor:
        """Return free parameters of a point of the set.

        Points nearer to the boundary than `margin` are first moved inside by about that much: relative to the size of
        the set where it is bounded, else absolute.
        """

    def log_abs_det(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the Jacobian's absolute determinant of a bijective map, ``(*batch, blocks)``."""
        n = raw.shape[-1]

        def column(direction: Tensor) -> Tensor:
            return torch.func.jvp(self.forward, (raw,), (direction.expand_as(raw),))[1]

        jacobian = torch.func.vmap(column)(torch.eye(n, dtype=raw.dtype, device=raw.device))
        return torch.linalg.slogdet(jacobian.movedim(0, -1)).logabsdet


def register_smooth_map(kind: type[ClosedFormSet]) -> Callable[[_M], _M]:
    """Register a smooth map for a kind of closed-form set: a decorator of a `SmoothMap`.

    Of several maps for one kind, that registered last is asked first whether it `serves`.
    """

    def add(cls: _M) -> _M:
        register(lambda bound: cls if cls.serves(bound) else None)
        return cls

    register = smooth_map.register(kind)
    return add
