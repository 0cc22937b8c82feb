"""Sections of boxes: a box meets one linear function's bounds (simplex, capped simplex, knapsack, ...)."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.operator import serves
from optlayers.parametric.range import Range, clamp, filled, relative
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.search.section_kernels import Section, define_operators, project_fused, project_in_place
from optlayers.sets.search.section_search import beyond_breakpoints, free_mask, move_to_total

_ROUNDINGS = 64  # by which a total may be out of reach


@register
@dataclass(frozen=True, eq=False)
class BoxSection(ClosedFormSet):
    """``{y : lower <= y <= upper, normal @ y in total}``.

    The multiplier `tau` of the total solves ``normal @ clamp(v - tau * normal, lower, upper) = total``, which is
    piecewise linear and monotone in `tau` (Held, Wolfe and Crowder, "Validation of subgradient optimization", 1974,
    for the simplex; Brucker, "An O(n) algorithm for quadratic knapsack problems", 1984).

    Attributes
    ----------
    normal : Tensor, shape (*batch, n), or None
        None for all ones.
    lower, upper : Tensor, shape (*batch, n), or None
    total : Range of Tensor, shape (*batch,)
    """

    name = "box section"
    kernels = "box_section"
    bounds_entries = True
    normal: Tensor | None
    lower: Tensor | None
    upper: Tensor | None
    total: Range[Tensor]

    @staticmethod
    def constraints(
        x: cp.Variable,
        lower: Any = None,
        upper: Any = None,
        normal: Any = None,
        total: Any = None,
        total_lower: Any = None,
        total_upper: Any = None,
    ) -> list[cp.Constraint]:
        product = cp.sum(x) if normal is None else normal @ x
        return between(x, lower, upper) + between(product, total_lower, total_upper, total)

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if len(block.rows) != 1 or block.cones or block.auxiliary or not block.has_bounds:
            return None
        (row,) = block.rows
        return {
            "normal": None if _is_ones(row.normal) else row.normal,
            "lower": block.lower,
            "upper": block.upper,
            "total": row.range,
        }

    @classmethod
    def label(cls, block: Block) -> str:
        (row,) = block.rows
        ones = _is_ones(row.normal)
        zero_based = block.lower is not None and block.lower.is_zero
        if not row.is_equality:
            return "knapsack" if row.lower is None or row.upper is None else "slab of a box"
        if zero_based and block.upper is None:
            return "simplex" if ones else "weighted simplex"
        if zero_based and ones and block.bounded == block.size:
            return "capped simplex"
        return cls.name

    def project(self, v: Tensor) -> Tensor:
        """Search for the free entries, then solve for the multiplier with these fixed.

        An entry exactly at a bound takes the derivative of the bound, a total exactly at its bound that of the bound.
        """
        fused = self.fused(v)
        if fused is not None:
            return fused
        section = self.normal, self.lower, self.upper
        if serves(v, *section, *self.total.bounds):
            return _compiled(v, section, self.total)
        if self.total.is_fixed:
            return self._section(v, self.total.value)
        inside = clamp(v, self.lower, self.upper)
        product = self._total(inside)
        loose = self.total.surrounds(product).unsqueeze(-1)
        return torch.where(loose, inside, self._section(v, self.total.clamp(product)))

    def fused(self, v: Tensor) -> Tensor | None:
        return project_fused(v, (self.normal, self.lower, self.upper), self.total)

    def project_(self, v: Tensor) -> bool:
        return project_in_place(v, (self.normal, self.lower, self.upper), self.total)

    def without_infinities(self, v: Tensor) -> Tensor:
        """Such entries are at their bounds if the others can make up the total."""
        normal, lower, upper = (None if t is None else primal(t) for t in (self.normal, self.lower, self.upper))
        point, infinite = primal(v).to(next(t.dtype for t in (lower, upper) if t is not None)), v.isinf()
        bound = torch.clamp(point, lower, upper)
        low = torch.where(infinite, bound, -torch.inf if lower is None else lower)
        high = torch.where(infinite, bound, torch.inf if upper is None else upper)
        reaches = torch.ones_like(infinite[..., :1])
        for check in replace(self, lower=low, upper=high).checks():
            reaches = reaches & (check.amount <= _ROUNDINGS * torch.finfo(point.dtype).eps).all(-1, keepdim=True)
        first, last = beyond_breakpoints(point, normal, lower, upper)
        far = torch.maximum(first.abs(), last.abs()) * (1.0 if normal is None else normal.abs())
        limit = bound + torch.where(bound == point, 0.0, far.copysign(point))
        return torch.where(infinite & reaches, limit.to(v.dtype), v)

    def _section(self, v: Tensor, total: Tensor) -> Tensor:
        x = move_to_total(v, self.normal, self.lower, self.upper, total)
        normal = 1.0 if self.normal is None else self.normal
        if self.normal is not None and (is_traced() or may_need_derivative(self.normal)):
            constant = primal(self.normal)
            square = constant.square().sum(-1, keepdim=True)
            tau = ((primal(v) - x) * constant).sum(-1, keepdim=True) / torch.where(square > 0, square, 1.0)
            x = x - tau * (self.normal - constant)
        if is_traced() or may_need_derivative(v):
            x = x + (v - primal(v))
        y = clamp(x, self.lower, self.upper)
        lower, upper = (None if bound is None else bound.detach() for bound in (self.lower, self.upper))
        free = free_mask(y.detach(), lower, upper)
        slope = self._slope(free)
        if is_traced() or bool((slope <= 0).any()):
            free = _with_one_free(free, (x - y).detach(), torch.ones_like(x) * normal**2)
            slope = self._slope(free)
        step = (self._total(y) - total) / torch.where(slope > 0, slope, 1.0)
        y = y - free * (step.unsqueeze(-1) * normal)
        return y + (clamp(y.detach(), self.lower, self.upper) - y).detach()

    def _slope(self, free: Tensor) -> Tensor:
        """Return the sum of the squared normal over the free entries."""
        return (free if self.normal is None else free * self.normal.square()).sum(-1)

    def _total(self, y: Tensor) -> Tensor:
        return y.sum(-1) if self.normal is None else (self.normal * y).sum(-1)

    def extremes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normal, and the points of the box where the total is smallest and largest."""
        reference = next(t for t in (self.lower, self.upper) if t is not None)
        normal = filled(self.normal, 1.0, reference)
        lower, upper = filled(self.lower, -torch.inf, reference), filled(self.upper, torch.inf, reference)
        low = torch.where(normal > 0, lower, torch.where(normal < 0, upper, 0.0))
        high = torch.where(normal > 0, upper, torch.where(normal < 0, lower, 0.0))
        return normal, low, high

    def misses(self) -> list[tuple[float, Tensor]]:
        """Return by how much each bound of the total is out of reach, with its side: 1 from below, -1 from above."""
        normal, low, high = self.extremes()
        result = []
        for side, bound in self.total.sides:
            reach = torch.where(normal == 0, 0.0, normal * (high if side > 0 else low))
            result.append((side, relative(side * (bound - reach.sum(-1)), bound, reach.abs().sum(-1))))
        return result

    def checks(self) -> list[Check]:
        """Check that bounds do not cross, and that the total's are in reach."""
        crossing = self.total.crossing()
        checks = [] if crossing is None else [Check.one(crossing, Block.row_sources)]
        checks += Box(self.lower, self.upper).checks()
        return checks + [Check.one(amount, partial(_reach_sources, side)) for side, amount in self.misses()]

    def relaxed(self) -> "BoxSection":
        """Minimise squared violations: bounds that cross meet halfway; then, out of reach, all entries give way.

        Where the total is out of reach by `d`, the least-squares point moves from the nearest corner of the box by
        ``d / (1 + ||normal||^2)`` times the normal.
        """
        entries = Range(self.lower, self.upper).uncrossed()
        section = BoxSection(self.normal, entries.lower, entries.upper, self.total.uncrossed())
        normal, low, high = section.extremes()
        moves = normal != 0
        for side, bound in section.total.sides:
            corner = high if side > 0 else low
            distance = bound - torch.where(moves, normal * corner, 0.0).sum(-1)
            empty = (side * distance > 0).unsqueeze(-1)
            step = torch.where(empty, distance.unsqueeze(-1), 0.0) / (1 + normal.square().sum(-1, keepdim=True))
            point = torch.where(empty & moves, corner, 0.0) + step * normal
            total = torch.where(empty.squeeze(-1), (normal * point).sum(-1), bound)
            lower, upper = (
                torch.where(empty & moves, point, filled(bound, absent, point))
                for bound, absent in ((section.lower, -torch.inf), (section.upper, torch.inf))
            )
            section = BoxSection(self.normal, lower, upper, section.total.replaced(empty.squeeze(-1), total))
        return section

    @staticmethod
    def examples() -> Examples:
        zero, one = np.zeros(6), np.array(1.0)
        weights = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.1])
        signed = np.array([1.0, -2.0, 0.5, 0.0, -1.0, 3.0])
        caps = np.array([0.313, 0.227, 0.536, 0.131, 0.918, 0.474])
        yield {"size": (6,), "lower": zero, "total": one}
        yield {"size": (6,), "lower": zero, "upper": caps, "total": one}
        yield {"size": (2, 3), "lower": np.full((2, 3), 0.1), "total": np.array(2.0)}
        yield {"size": (6,), "lower": zero, "normal": weights, "total": np.array(1.5)}
        yield {"size": (6,), "lower": -caps, "upper": caps, "normal": signed, "total": np.array(0.2)}
        yield {"size": (6,), "upper": caps, "total_upper": np.array(-0.5)}
        yield {"size": (6,), "lower": zero, "upper": caps, "normal": weights, "total_upper": np.array(0.8)}
        yield {"size": (6,), "lower": -caps, "normal": signed, "total_lower": -one, "total_upper": np.array(0.5)}


def _with_one_free(free: Tensor, beyond: Tensor, square: Tensor) -> Tensor:
    """At a vertex, free the entry that a change of the data would free first: the derivative of that side."""
    time = torch.where(square > 0, beyond.square() / torch.where(square > 0, square, 1.0), torch.inf)
    vertex = (free * square).sum(-1, keepdim=True) <= 0
    first = torch.arange(free.shape[-1], device=free.device) == time.argmin(-1, keepdim=True)
    return free.maximum((vertex & first).to(free.dtype))


def _project(v: Tensor, section: Section, total: Range[Tensor]) -> Tensor:
    return BoxSection(*section, total).project(v)


_compiled = define_operators(_project)


def _is_ones(normal: Affine) -> bool:
    return normal.is_constant and bool(np.all(normal.constant == 1.0))


def _reach_sources(side: float, block: Block) -> set[int]:
    """Return the user's constraints that keep the total of a section from its bound on a side."""
    (row,) = block.rows
    normal = row.normal.constant if row.normal.is_constant else np.zeros(block.size)
    sides = -np.sign(side * normal).astype(np.int64)
    return block.bound_sources(np.arange(block.size), sides) | row.sources_at(side)
