"""Monotone sequences in sections of cubes: ordered probabilities and their kin."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.range import Range
from optlayers.parametric.sparse import entries_of
from optlayers.parametric.symbolic import Affine, Data, as_number
from optlayers.recognition.block import Block, Fields, Row, Vectors
from optlayers.recognition.chains import read_chain
from optlayers.sets.base import Check, ClosedFormSet, Examples, register
from optlayers.sets.box_section import BoxSection
from optlayers.sets.isotonic import arrange, match_monotone, restore
from optlayers.sets.search.pool_adjacent import block_means, pool, settled
from optlayers.sets.slab import Slab


@register
@dataclass(frozen=True, eq=False)
class OrderSimplex(ClosedFormSet):
    """``{y : y[0] <= ... <= y[n - 1], lower <= y <= upper, sum(y) in total}``, or decreasing.

    The projection onto the intersection of the monotone cone K and a set C that permutations do not change is that onto
    C, of the projection `u` of `v` onto K. For ``y = P_C(u)`` is in K too, and equal where `u` is, so that
    ``<v - u, y> = 0``; and for `z` in both, ``<v - y, z - y> = <v - u, z> + <u - y, z - y> <= 0`` (compare Németh and
    Németh, "How to project onto an isotone projection cone", 2010).

    Attributes
    ----------
    order : Tensor, shape (*batch, n), or None
        The entries along the sequence, as whole numbers; None for their own order.
    sign : Tensor, shape (*batch, n)
        All 1 if the sequence increases, all -1 if it decreases.
    lower, upper : Tensor, shape (*batch, n), or None
        The same for all entries.
    total : Range of Tensor, shape (*batch,)
    """

    name = "order simplex"
    order: Tensor | None
    sign: Tensor
    lower: Tensor | None
    upper: Tensor | None
    total: Range[Tensor]

    @staticmethod
    def constraints(
        x: cp.Variable,
        rises: bool = False,
        lower: Any = None,
        upper: Any = None,
        total: Any = None,
        total_lower: Any = None,
        total_upper: Any = None,
        order: Any = None,
    ) -> list[cp.Constraint]:
        steps = cp.diff(x if order is None else x[order])
        section = BoxSection.constraints(x, lower, upper, None, total, total_lower, total_upper)
        return [steps >= 0 if rises else steps <= 0, *section]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if block.cones or block.auxiliary or len(block.rows) != block.size or block.size < 2:
            return None
        used = entries_of(block.normals)
        ones = (used.constant == 1) & ~used.is_parametric
        full = np.flatnonzero(np.bincount(used.row[ones], minlength=block.size) == block.size)
        sums = [block.rows[k] for k in full]
        chain = read_chain([row for row in block.rows if row is not sums[0]], block.size) if len(sums) == 1 else None
        monotone = None if chain is None else match_monotone(block, chain)
        if chain is None or monotone is None:
            return None
        gaps = monotone["rise"] or monotone["fall"]
        if gaps is None or not gaps.is_zero or not _is_safe(block, monotone, sums[0]):
            return None
        sign, every = -1.0 if monotone["rise"] is None else 1.0, np.zeros(block.size, dtype=np.int64)
        lower, upper = (None if end is None else end[every] for end in (monotone["lower"], monotone["upper"]))
        return {
            "order": monotone["order"],
            "sign": Affine.of(np.full(block.size, sign), block.parameters),
            "lower": lower,
            "upper": upper,
            "total": sums[0].range,
        }

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block) or {}
        total, lower = fields["total"], fields["lower"]
        is_fixed, zero = isinstance(total, Range) and total.is_fixed, isinstance(lower, Data) and lower.is_zero
        return cls.name if is_fixed and zero else "monotone sequence of bounded total"

    def project(self, v: Tensor) -> Tensor:
        """Pool, then project onto the section; entries that are pooled share the section's derivatives."""
        z = self.sign * arrange(v, self.order)
        values, starts = pool(z)
        u = settled(block_means(z, starts), values)
        y = self._section.project(self.sign * u)
        return restore(settled(block_means(y, starts), y), self.order)

    @property
    def _section(self) -> BoxSection | Slab:
        if self.lower is None and self.upper is None:
            return Slab(torch.ones_like(self.sign), self.total)
        return BoxSection(None, self.lower, self.upper, self.total)

    def checks(self) -> list[Check]:
        """Check the section of the total and the bounds; the order takes nothing from its reach."""
        return [Check.one(check.amount.amax(-1)) for check in self._section.checks()]

    def relaxed(self) -> "OrderSimplex":
        """Relax the section: its least-infeasible points include some with all entries alike, which are in order."""
        section = self._section.relaxed()
        if isinstance(section, Slab):
            return dataclasses.replace(self, total=section.level)
        return dataclasses.replace(self, lower=section.lower, upper=section.upper, total=section.total)

    @staticmethod
    def examples() -> Examples:
        zero, one = np.array(0.0), np.array(1.0)
        yield {"size": (5,), "lower": zero, "total": one}
        yield {"size": (6,), "rises": True, "lower": zero, "upper": np.array(0.4), "total": one, "fixed": ("rises",)}
        yield {"size": (4,), "total": np.array(2.0)}
        yield {"size": (5,), "upper": np.array(0.3), "total_lower": np.array(-2.0), "total_upper": np.array(0.5)}
        yield {"size": (2,), "lower": zero, "total": one}
        yield {"size": (4,), "lower": zero, "total_upper": one, "order": [2, 0, 3, 1], "fixed": ("order",)}


def _is_safe(block: Block, monotone: Vectors, row: Row) -> bool:
    """Whether the entries have the same bounds, or the set is known not to be empty.

    Otherwise the least-infeasible points would be others.
    """
    if all(bound is None or bound.is_uniform for bound in (block.lower, block.upper)):
        return True
    low, high = as_number(monotone["lower"], -np.inf), as_number(monotone["upper"], np.inf)
    total_lower, total_upper = as_number(row.lower, -np.inf), as_number(row.upper, np.inf)
    return block.size * low <= total_upper and total_lower <= block.size * high and total_lower <= total_upper
