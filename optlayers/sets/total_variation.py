"""Balls of the total variation."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.kernels.cpu.call import is_built
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.chains import order_field
from optlayers.recognition.variation import read_variation
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.isotonic import arrange, restore
from optlayers.sets.search.total_variation_search import nearest_of_variation


@register
@dataclass(frozen=True, eq=False)
class TotalVariationBall(ClosedFormSet):
    """``{y : sum_i |y[i + 1] - y[i]| <= radius}``.

    The blocks of equal entries and the signs of the steps between them are found by following the path of the
    multiplier (compiled: without the core the set is the general solver's); with these fixed, the answer is a
    projection onto a hyperplane among the sequences that are constant on the blocks (Fadili and Peyré, "Total variation
    projection with first order schemes", 2011, for the set; Friedman and others, "Pathwise coordinate optimization",
    2007, for the path).

    Attributes
    ----------
    order : Tensor, shape (*batch, n), or None
        The entries along the sequence, as whole numbers; None for their own order.
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "total variation ball"
    order: Tensor | None
    radius: Tensor

    @staticmethod
    def constraints(x: cp.Variable, radius: Any, order: Any = None) -> list[cp.Constraint]:
        return [cp.norm1(cp.diff(x if order is None else x[order])) <= radius]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        variation = read_variation(block) if is_built() else None
        if variation is None:
            return None
        return {"order": order_field(variation.order, block.parameters), "radius": variation.radius}

    def project(self, v: Tensor) -> Tensor:
        z = arrange(v, self.order)
        return restore(nearest_of_variation(z, self.radius.clamp_min(0.0)), self.order)

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]

    @staticmethod
    def examples() -> Examples:
        yield {"size": (5,), "radius": np.array(2.0)}
        yield {"size": (6,), "radius": np.array(0.3)}
        yield {"size": (4,), "radius": np.array(20.0)}
        yield {"size": (4,), "radius": np.array(1.0), "order": [2, 0, 3, 1], "fixed": ("order",)}
