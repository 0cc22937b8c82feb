"""Projection onto intervals, entry by entry."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced, may_need_derivative


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
        v = torch.where(v > lower, v, lower)
    if upper is not None:
        v = torch.where(v < upper, v, upper)
    return v
