"""The families of Triton kernels, each with its plain form."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from optlayers.cones import second_order
from optlayers.parametric.range import Range
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.l2_ball import L2Ball

pytest.importorskip("triton", reason="Triton is not installed")
from optlayers.kernels.gpu import (
    box,
    box_section,
    isotonic,
    l1_ball,
    l2_ball,
    second_order_cone,
)


@dataclass(frozen=True)
class Family:
    """A kernel with its data: its projection, with the gradient of ``g @ y`` for a given `g`, and the plain form."""

    kernel: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    plain: Callable[[Tensor], Tensor]


def section(normal=None, lower=None, upper=None, low=None, high=None) -> Family:
    """Take functions that make data for points; `low` without `high` is a fixed total."""
    fixed = high is None
    high = low if fixed else high

    def data(v):
        fields = [None if f is None else f(v) for f in (normal, lower, upper)]
        first = None if low is None or low == "none" else low(v)
        return fields, Range(first, first if fixed else (None if high == "none" else high(v)), fixed)

    def kernel(v, g):
        fields, total = data(v)
        y, tight = box_section.project(v, *fields, total)
        return y, box_section.pull(g, y, tight, *fields)

    def plain(v):
        fields, total = data(v)
        return BoxSection(*fields, total).project(v)

    return Family(kernel, plain)


def bounds(lower, upper) -> Family:
    def kernel(v, g):
        fields = [None if f is None else f(v) for f in (lower, upper)]
        y = box.project(v, *fields)
        return y, box.pull(g, y, *fields)

    return Family(kernel, lambda v: Box(*(None if f is None else f(v) for f in (lower, upper))).project(v))


def absolute(weights=None) -> Family:
    def kernel(v, g):
        w = None if weights is None else weights(v)
        y, tight = l1_ball.project(v, w, radius(v))
        return y, l1_ball.pull(g, y, tight, w)

    def plain(v):
        zero, w = torch.zeros_like(v), None if weights is None else weights(v)
        return v.sign() * BoxSection(w, zero, None, Range(None, radius(v))).project(v.abs())

    return Family(kernel, plain)


def euclidean() -> Family:
    def kernel(v, g):
        y, norm = l2_ball.project(v, radius(v))
        return y, l2_ball.pull(g, v, norm, radius(v))

    return Family(kernel, lambda v: L2Ball(torch.zeros_like(v), radius(v)).project(v))


def cone() -> Family:
    return Family(lambda v, g: (second_order_cone.project(v), second_order_cone.pull(g, v)), second_order.project)


def monotone(weights=None) -> Family:
    def kernel(v, g):
        w = None if weights is None else weights(v)
        y, starts = isotonic.project(v, w)
        return y, isotonic.pull(g, starts, w)

    return Family(kernel, lambda v: _pooled(v, None if weights is None else weights(v)))


def _pooled(v: Tensor, weight: Tensor | None) -> Tensor:
    """Pool adjacent violators with a stack, then write the means as a formula."""
    w = torch.ones_like(v) if weight is None else weight.expand(v.shape).to(v.dtype)
    starts = np.empty(v.shape, dtype=np.int64)
    for r, (values, masses) in enumerate(zip(v.tolist(), w.tolist(), strict=True)):
        blocks: list[tuple[float, float, int]] = []
        for i, (mean, mass) in enumerate(zip(values, masses, strict=True)):
            first = i
            while blocks and blocks[-1][0] >= mean:
                other, heft, first = blocks.pop()
                mean, mass = (other * heft + mean * mass) / (heft + mass), heft + mass
            blocks.append((mean, mass, first))
        for _, _, first in blocks:
            starts[r, first:] = first
    at = torch.from_numpy(starts).to(v.device)
    total, mass = (torch.zeros_like(v).scatter_add(-1, at, t) for t in (v * w, w))
    return (total / torch.where(mass > 0, mass, 1.0)).gather(-1, at)


def pattern(scale: float, shift: float, rows: bool = False) -> Callable[[Tensor], Tensor]:
    """Return data that differ by entry, and by row if asked for."""

    def of(v):
        step = torch.arange(v.shape[-1], device=v.device)
        entries = ((step * 37) % 64).double() / 64
        if rows:
            entries = entries + torch.arange(len(v), device=v.device).unsqueeze(-1) / 8
        return (scale * entries + shift).to(v.dtype).reshape(-1, v.shape[-1])

    return of


def constant(value: float) -> Callable[[Tensor], Tensor]:
    """Return a number for all entries, expanded."""
    return lambda v: v.new_full((1, 1), value).expand(1, v.shape[-1])


def total(value: float) -> Callable[[Tensor], Tensor]:
    return lambda v: v.new_full((1,), value)


def radius(v: Tensor) -> Tensor:
    return 1 + torch.arange(len(v), device=v.device).to(v.dtype) / 2


def share(value: float) -> Callable[[Tensor], Tensor]:
    """Return a total that is in reach of all sizes, one a row."""
    return lambda v: v.new_full((len(v),), value) * v.shape[-1]


FAMILIES = {
    "box": bounds(pattern(1.0, -0.5, rows=True), constant(0.25)),
    "half-box": bounds(None, pattern(0.5, -0.25)),
    "simplex": section(lower=constant(0.0), low=total(1.0)),
    "shifted simplex": section(lower=pattern(0.5, -0.5), low=share(0.125)),
    "capped simplex": section(lower=constant(0.0), upper=constant(0.5), low=share(0.25)),
    "knapsack": section(pattern(1.0, 0.25), constant(0.0), pattern(0.5, 0.5, rows=True), "none", share(0.125)),
    "signed slab": section(pattern(2.0, -1.0), constant(-0.5), constant(0.75), share(-0.0625), share(-0.03125)),
    "upper bounds": section(upper=pattern(1.0, 0.0), low=share(-0.5), high="none"),
    "L1 ball": absolute(),
    "weighted L1 ball": absolute(pattern(1.0, 0.0)),
    "L2 ball": euclidean(),
    "second-order cone": cone(),
    "isotonic": monotone(),
    "weighted isotonic": monotone(pattern(1.0, 0.25)),
}
