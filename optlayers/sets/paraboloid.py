"""Paraboloids: what lies above a convex quadratic function, in any position."""

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.principal_axes import combine, coordinates
from optlayers.recognition.quadric import match_paraboloid
from optlayers.sets.base import ClosedFormSet, Examples, register
from optlayers.sets.search.secular_search import attached_root


@register
@dataclass(frozen=True, eq=False)
class Paraboloid(ClosedFormSet):
    """``{y : sum_i weights_i z_i^2 <= slope * head @ z}``, `z` being principal coordinates of ``y - center``.

    The multiplier `x` of a point with the head `t` solves ``sum_i weights_i z_i^2 / (1 + x weights_i)^2 = slope (t +
    slope x / 2)``: for equal weights a cubic equation, in general a secular one (see `secular_search`).

    Attributes
    ----------
    axes, weights, head, center : Tensor
        See `Quadric`; `axes` may be None.
    slope : Tensor, shape (*batch,)
        Positive.
    """

    name = "paraboloid"
    axes: Tensor | None
    weights: Tensor
    head: Tensor
    center: Tensor
    slope: Tensor

    @staticmethod
    def constraints(x: cp.Variable, matrix: Any, shift: Any, normal: Any, level: Any) -> list[cp.Constraint]:
        return [cp.sum_squares(matrix @ x - shift) <= normal @ x - level]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        paraboloid = match_paraboloid(block)
        if paraboloid is None:
            return None
        return {**paraboloid.fields(block.parameters), "slope": Affine.of(paraboloid.slope, block.parameters)}

    def project(self, v: Tensor) -> Tensor:
        """Find the multiplier; on the boundary the derivative is that of an inside point."""
        offset = v - self.center
        size = primal(offset).abs().amax(-1)
        size = torch.where(size > 0, size, 1.0)
        z, rest, squares = coordinates(self.axes, offset / size.unsqueeze(-1))
        slope = self.slope / size
        t = (self.head * z).sum(-1)
        terms = self.weights * squares
        inside = terms.sum(-1) <= slope * t
        solvable = ~inside & (terms.sum(-1) > 0)
        slope = torch.where(solvable, slope, 1.0)
        terms = torch.where(solvable.unsqueeze(-1), terms, self.weights)
        unit = slope.clamp_max(1.0)
        level = torch.where(self.weights > 0, unit.unsqueeze(-1), 1.0)
        multiplier = self._multiplier(torch.where(solvable, t, 0.0), terms, slope, unit, level)
        multiplier = torch.where(solvable, multiplier, 0.0)
        factors = level / (level + multiplier.unsqueeze(-1) * self.weights)
        top = (terms * (factors / slope.sqrt().unsqueeze(-1)).square()).sum(-1)
        moved = torch.where(self.head == 0, z * factors[..., : z.shape[-1]], self.head * top.unsqueeze(-1))
        y = self.center + size.unsqueeze(-1) * combine(self.axes, moved, rest, factors)
        return torch.where(inside.unsqueeze(-1), v, y)

    def _multiplier(self, t: Tensor, terms: Tensor, slope: Tensor, unit: Tensor, level: Tensor) -> Tensor:
        """Return `x`, times the unit, so that no square over- or underflows; `level` is the unit of curved terms.

        Search from the least multiplier at which the height is not negative, so that nothing cancels. Start with the
        denominators at a bound above the root, which is left of it. Two bounds are the roots of the equation with the
        denominators of the least multiplier, and with the last terms of all linear functions alone.
        """
        weights, share = self.weights, unit / slope
        terms, base = terms * (share.square() * unit).unsqueeze(-1), share * t
        least, base = (-2 * base).clamp_min(0.0), base.clamp_min(0.0)
        growth = level + least.unsqueeze(-1) * weights

        def root(growth: Tensor) -> Tensor:
            return 2 * ((terms.sqrt() / growth).square().sum(-1) - base)

        beyond = torch.where(weights > 0, terms / torch.where(weights > 0, weights, 1.0).square(), 0.0).sum(-1)
        with torch.no_grad():
            bound = torch.minimum(root(growth), (2 * beyond) ** (1 / 3)).unsqueeze(-1)
            start = root(growth + bound * weights).clamp_min(0.0)
        rise = torch.full_like(base, 0.5)
        return least + attached_root(start, terms, weights.expand_as(terms), growth, rise, base)

    @staticmethod
    def examples() -> Examples:
        fixed = ("matrix", "normal")
        identity = np.eye(4)
        shift = np.array([0.5, -1.0, 0.0])
        data = {"matrix": identity[1:], "shift": shift, "normal": identity[0], "level": np.array(0.3)}
        yield {"size": (4,), **data, "fixed": fixed}
        scaled = identity[:3] * [[0.1], [1.0], [3.0]]
        normal = np.array([0.5, 0.0, 0.0, -2.0])
        data = {"matrix": scaled, "shift": shift.copy(), "normal": normal, "level": np.array(-1.0)}
        yield {"size": (4,), **data, "fixed": fixed}
        dense = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
        normal = np.array([1.0, 2.0, 0.5])
        data = {"matrix": dense, "shift": np.array([0.5, -1.0]), "normal": normal, "level": np.array(0.7)}
        yield {"size": (3,), **data, "fixed": fixed}
        data = {"matrix": dense[:1], "shift": np.zeros(1), "normal": normal, "level": np.array(0.0)}
        yield {"size": (3,), **data, "fixed": (*fixed, "shift")}
