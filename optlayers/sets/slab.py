"""Slabs: one linear function between two bounds; hyperplanes and half-spaces included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block
from optlayers.sets.base import ClosedFormSet, register, relative
from optlayers.sets.search.clamp import clamp


@register
@dataclass(frozen=True, eq=False)
class Slab(ClosedFormSet):
    """``{y : lower <= normal @ y <= upper}``: a hyperplane if the two bounds are one, a half-space if one is absent.

    Attributes
    ----------
    normal : Tensor, shape (*batch, n)
    lower, upper : Tensor, shape (*batch,), or None
    """

    name = "slab"
    normal: Tensor
    lower: Tensor | None
    upper: Tensor | None

    @staticmethod
    def constraints(
        x: cp.Variable, normal: Any, lower: Any = None, upper: Any = None, total: Any = None
    ) -> list[cp.Constraint]:
        product = normal @ x
        result = [product == total] if total is not None else []
        result += [product >= lower] if lower is not None else []
        return result + ([product <= upper] if upper is not None else [])

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        if len(block.rows) != 1 or block.cones or block.auxiliary or block.has_bounds:
            return None
        (row,) = block.rows
        return {"normal": row.normal, "lower": row.lower, "upper": row.upper}

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
        excess = (product - clamp(product, self.lower, self.upper)).unsqueeze(-1)
        return self.normal * (excess / torch.where(square > 0, square, 1.0))

    def infeasibility(self) -> Tensor | None:
        null = (self.normal == 0).all(-1)
        reach = torch.where(null, 0.0, torch.inf)
        checks = []
        if self.lower is not None and self.upper is not None:
            checks.append(relative(self.lower - self.upper, self.lower, self.upper))
        if self.lower is not None:
            checks.append(relative(self.lower - reach, self.lower))
        if self.upper is not None:
            checks.append(relative(-reach - self.upper, self.upper))
        return torch.stack(torch.broadcast_tensors(*checks), -1)

    def relaxed(self) -> Slab:
        if self.lower is None or self.upper is None:
            return self
        empty, middle = self.lower > self.upper, (self.lower + self.upper) / 2
        return Slab(self.normal, torch.where(empty, middle, self.lower), torch.where(empty, middle, self.upper))

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        normal = np.array([1.0, -2.0, 0.5, 3.0])
        yield {"size": (4,), "normal": normal, "total": np.array(0.7)}
        yield {"size": (4,), "normal": normal, "upper": np.array(-0.3)}
        yield {"size": (2,), "normal": np.array([1e-3, 2e3]), "lower": np.array(1.0)}
        yield {"size": (4,), "normal": normal, "lower": np.array(-1.0), "upper": np.array(0.5)}
