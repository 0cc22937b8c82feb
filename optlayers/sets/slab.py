"""Slabs: one linear function between two bounds; hyperplanes and half-spaces included."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.range import Range, relative
from optlayers.recognition.block import Block, Fields
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register


@register
@dataclass(frozen=True, eq=False)
class Slab(ClosedFormSet):
    """``{y : lower <= normal @ y <= upper}``: a hyperplane if the level is fixed, a half-space if a bound is absent.

    Attributes
    ----------
    normal : Tensor, shape (*batch, n)
    level : Range of Tensor, shape (*batch,)
        Of ``normal @ y``.
    """

    name = "slab"
    normal: Tensor
    level: Range[Tensor]

    @staticmethod
    def constraints(
        x: cp.Variable, normal: Any, lower: Any = None, upper: Any = None, total: Any = None
    ) -> list[cp.Constraint]:
        return between(normal @ x, lower, upper, total)

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if len(block.rows) != 1 or block.cones or block.auxiliary or block.has_bounds:
            return None
        (row,) = block.rows
        return {"normal": row.normal, "level": row.range}

    @classmethod
    def label(cls, block: Block) -> str:
        (row,) = block.rows
        if row.is_equality:
            return "hyperplane"
        return "half-space" if row.lower is None or row.upper is None else cls.name

    def project(self, v: Tensor) -> Tensor:
        """Move along the normal; and once more, without gradient, for the rounding of the first time.

        On the boundary the derivative is that of the boundary's hyperplane.
        """
        y = v - self._outside(v)
        return y - self._outside(y.detach()).detach()

    def _outside(self, v: Tensor) -> Tensor:
        square = self.normal.square().sum(-1, keepdim=True)
        product = (self.normal * v).sum(-1)
        excess = (product - self.level.clamp(product)).unsqueeze(-1)
        return self.normal * (excess / torch.where(square > 0, square, 1.0))

    def checks(self) -> list[Check]:
        """Check that the bounds do not cross; and those of a product that is zero."""
        crossing = self.level.crossing()
        checks = [] if crossing is None else [Check.one(crossing, Block.row_sources)]
        reach = torch.zeros_like(self.normal[..., 0]).masked_fill((self.normal != 0).any(-1), torch.inf)
        for side, bound in self.level.sides:
            checks.append(Check.one(relative(side * bound - reach, bound), partial(Block.row_sources, side=side)))
        return checks

    def relaxed(self) -> "Slab":
        return Slab(self.normal, self.level.uncrossed())

    @staticmethod
    def examples() -> Examples:
        normal = np.array([1.0, -2.0, 0.5, 3.0])
        yield {"size": (4,), "normal": normal, "total": np.array(0.7)}
        yield {"size": (4,), "normal": normal, "upper": np.array(-0.3)}
        yield {"size": (2,), "normal": np.array([1e-3, 2e3]), "lower": np.array(1.0)}
        yield {"size": (4,), "normal": normal, "lower": np.array(-1.0), "upper": np.array(0.5)}
