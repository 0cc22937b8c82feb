"""Boxes: bounds on single entries."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import may_need_derivative
from optlayers.kernels.fused import rows_of
from optlayers.parametric.range import Range, clamp
from optlayers.recognition.block import Block, Fields
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.search.section_search import stored_free_mask


@register
@dataclass(frozen=True, eq=False)
class Box(ClosedFormSet):
    """``{y : lower <= y <= upper}``; orthants, single points and the whole space included.

    Attributes
    ----------
    lower, upper : Tensor, shape (*batch, n), or None
    """

    name = "box"
    kernels = "box"
    clamps = True
    bounds_entries = True
    lower: Tensor | None
    upper: Tensor | None

    @property
    def range(self) -> Range[Tensor]:
        """The range of the entries."""
        return Range(self.lower, self.upper)

    @staticmethod
    def constraints(x: cp.Variable, lower: Any = None, upper: Any = None) -> list[cp.Constraint]:
        return between(x, lower, upper)

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if block.rows or block.cones or block.auxiliary:
            return None
        return {"lower": block.lower, "upper": block.upper}

    @classmethod
    def label(cls, block: Block) -> str:
        if not block.has_bounds:
            return "free space"
        if block.lower is not None and block.upper is not None and (block.upper - block.lower).is_zero:
            return "single point"
        if block.bounded == block.size:
            for side, other, name in (
                (block.lower, block.upper, "nonnegative"),
                (block.upper, block.lower, "nonpositive"),
            ):
                if other is None and side is not None and side.is_zero:
                    return f"{name} orthant"
        return cls.name

    def project(self, v: Tensor) -> Tensor:
        """Clamp; an entry on or beyond a bound takes the derivative of the bound."""
        if self.lower is None and self.upper is None:
            return v.clone()
        fused = self.fused(v) if may_need_derivative(v) else None
        return clamp(v, self.lower, self.upper) if fused is None else fused

    def fused(self, v: Tensor) -> Tensor | None:
        rows = rows_of(self.kernels, v, self.lower, self.upper)
        if rows is None:
            return None
        y = rows.kernels.project(rows.points, *rows.vectors)
        return rows.answer(y, self._pull, (y,), rows.vectors)

    def _pull(self, gradient: Tensor, y: Tensor) -> Tensor:
        return gradient * stored_free_mask(y, self.lower, self.upper)

    def without_infinities(self, v: Tensor) -> Tensor:
        return v if self.lower is None and self.upper is None else torch.where(v.isinf(), self._limits(v), v)

    def _limits(self, v: Tensor) -> Tensor:
        return torch.clamp(
            v.detach(), *(None if t is None else t.detach().to(v.dtype) for t in (self.lower, self.upper))
        )

    def checks(self) -> list[Check]:
        crossing = self.range.crossing()
        return [] if crossing is None else [Check(crossing, Block.sources_by_entry)]

    def relaxed(self) -> "Box":
        entries = self.range.uncrossed()
        return Box(entries.lower, entries.upper)

    @staticmethod
    def examples() -> Examples:
        yield {"size": (4,)}
        yield {"size": (5,), "lower": np.zeros(5)}
        yield {"size": (), "upper": np.array(0.5)}
        yield {"size": (3,), "lower": np.array([-1.0, 0.0, 2.0]), "upper": np.array([0.5, 1.0, 2.5])}
        point = np.array([-1.0, 3.0])
        yield {"size": (2,), "lower": point, "upper": point, "fixed": ("lower", "upper")}
        yield {"size": (2, 3), "lower": np.full((2, 3), -0.5), "upper": np.linspace(0, 1, 6).reshape(2, 3)}
