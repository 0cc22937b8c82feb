"""Ranges: numbers between a lower and an upper bound, or fixed to one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced, may_need_derivative

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Range(Generic[T]):
    """``lower <= x <= upper`` for numbers or vectors `x`: symbolic data while a set is recognised, tensors afterwards.

    A bound is None where there is none. With `is_fixed`, the two are one function of the parameters, so that `x` has
    this value, and bounds cannot cross.
    """

    lower: T | None
    upper: T | None
    is_fixed: bool = False

    @staticmethod
    def fixed(value: S) -> Range[S]:
        """Return the range of one value."""
        return Range(value, value, True)

    @property
    def value(self) -> T:
        """What `x` is fixed to."""
        assert self.is_fixed
        assert self.lower is not None
        return self.lower

    @property
    def bounds(self) -> tuple[T, ...]:
        """The different bounds that there are, the lower one first."""
        both = (self.lower,) if self.is_fixed else (self.lower, self.upper)
        return tuple(bound for bound in both if bound is not None)

    @property
    def sides(self) -> list[tuple[float, T]]:
        """The bounds that there are, each with its side: 1 from below, -1 from above."""
        return [(side, bound) for side, bound in ((1.0, self.lower), (-1.0, self.upper)) if bound is not None]

    def with_bounds(self, bounds: Sequence[S]) -> Range[S]:
        """Return the range with others in place of `bounds`."""
        if self.is_fixed:
            return Range.fixed(bounds[0])
        return Range(None if self.lower is None else bounds[0], None if self.upper is None else bounds[-1])

    @property
    def signature(self) -> object:
        """Equal for two ranges of symbolic data that can be stacked."""
        bounds: tuple[Any, ...] = (self.lower, self.upper)
        return self.is_fixed, *(None if bound is None else bound.signature for bound in bounds)

    def map(self, function: Callable[[T], S]) -> Range[S]:
        """Return the range whose bounds are functions of these."""
        if self.is_fixed:
            return Range.fixed(function(self.value))
        lower, upper = (None if bound is None else function(bound) for bound in (self.lower, self.upper))
        return Range(lower, upper)

    def clamp(self: Range[Tensor], x: Tensor) -> Tensor:
        """Return the nearest numbers in the range; see `clamp`."""
        return clamp(x, self.lower, self.upper)

    def surrounds(self: Range[Tensor], x: Tensor) -> Tensor:
        """Whether numbers are strictly between the bounds."""
        inside = torch.full_like(x, not self.is_fixed, dtype=torch.bool)
        if self.lower is not None:
            inside = inside & (x > self.lower)
        return inside if self.upper is None else inside & (x < self.upper)

    def crossing(self: Range[Tensor]) -> Tensor | None:
        """Return by how much the lower bound exceeds the upper one, see `relative`; None where it cannot."""
        if self.lower is None or self.upper is None or self.is_fixed:
            return None
        return relative(self.lower - self.upper, self.lower, self.upper)

    def uncrossed(self: Range[Tensor]) -> Range[Tensor]:
        """Return the least-infeasible range: bounds that cross meet halfway."""
        if self.lower is None or self.upper is None or self.is_fixed:
            return self
        return self.replaced(self.lower > self.upper, (self.lower + self.upper) / 2)

    def replaced(self: Range[Tensor], where: Tensor, value: Tensor) -> Range[Tensor]:
        """Return the range with all its bounds replaced by a value for some numbers."""
        return self.map(lambda bound: torch.where(where, value, bound))


def clamp(v: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Return the projection onto a box; where the bounds cross, it is the upper one.

    An entry on a bound takes the derivative of the bound, so that a fixed entry has none, whatever `v` is.
    `torch.clamp`, which gives it to `v`, is forty times faster than `torch.where`, and serves where no derivative is
    asked for.
    """
    bounds = [bound for bound in (lower, upper) if bound is not None]
    if not bounds:
        return v
    if not is_traced() and not any(may_need_derivative(t) for t in (v, *bounds)):
        return torch.clamp(v, lower, upper)
    if lower is not None:
        v = torch.where(v <= lower, lower, v)
    if upper is not None:
        v = torch.where(v >= upper, upper, v)
    return v


def relative(excess: Tensor, *data: Tensor | None) -> Tensor:
    """Divide by the size of the data, at least one; infinite data do not count."""
    scale = torch.ones_like(excess)
    for tensor in data:
        if tensor is not None:
            scale = torch.maximum(scale, torch.where(tensor.isinf(), 0.0, tensor.abs()))
    return excess / scale


def filled(data: Tensor | None, value: float, like: Tensor) -> Tensor:
    """Return data, or a tensor of one value where there are none."""
    return torch.full_like(like, value) if data is None else data
