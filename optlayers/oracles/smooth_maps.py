"""Smooth maps from free parameters onto the interior of a closed-form set, and the registry of those there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from optlayers.sets.base import ClosedFormSet

_REGISTRY: dict[type[ClosedFormSet], list[type[SmoothMap]]] = {}

_M = TypeVar("_M", bound="type[SmoothMap]")


class SmoothMap(ABC):
    """A smooth map from tensors ``(*batch, blocks, n)`` without constraints onto the relative interior of a set.

    Free parameters have the shape of the points; of a redundant map (softmax) several give one point.

    Parameters
    ----------
    own : ClosedFormSet
        An instance of the kind that the map is registered for; its fields are tensors ``(*batch, blocks, ...)``.
    """

    def __init__(self, own: Any) -> None:
        self.own = own

    @property
    def is_bijective(self) -> bool:
        """Whether free parameters and points of the set's interior, in all dimensions, are one to one."""
        return False

    @classmethod
    def serves(cls, own: Any) -> bool:
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
    if not (isinstance(kind, type) and issubclass(kind, ClosedFormSet)):
        raise ValueError(f"expected a class of closed-form sets (optlayers.sets), got {kind!r}")

    def add(cls: _M) -> _M:
        _REGISTRY.setdefault(kind, []).insert(0, cls)
        return cls

    return add


def find_smooth_map(own: ClosedFormSet) -> type[SmoothMap] | None:
    """Return the registered map that serves a set, or None."""
    return next((cls for cls in _REGISTRY.get(type(own), []) if cls.serves(own)), None)
