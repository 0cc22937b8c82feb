"""Functions of eigenvalues and of singular values, with first and second derivatives, repeated values included.

Eigenvectors are found without derivatives. Around them a function of the eigenvalues has the expansion

    F(E) = diag(f) + f[i, j] E_ij + sum_k f[i, k, j] E_ik E_kj + ...

with divided differences of `f` (Daleckii and Krein, 1965; Lewis and Sendov, "Twice differentiable spectral functions",
2001), where `E` is zero but carries the derivatives. Here `f` is smooth on each of a few regions of eigenvalues, so
that only differences between eigenvalues of two regions are divided by, which are not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from optlayers.cones.common import primal
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.deferred import deferred


def project_eigenvalues(matrix: Tensor, section: Box | BoxSection) -> Tensor:
    """Return the nearest symmetric matrix whose eigenvalues are in `section`, a set that no permutation changes.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n, n)
        Symmetric.
    section : Box or BoxSection
        Of dimension n, with equal bounds for all entries and no normal.

    Returns
    -------
    Tensor, shape (*batch, n, n)
    """
    values, vectors = torch.linalg.eigh(primal(matrix))
    level = primal(section.project(values))
    nearest = torch.where(
        (level == values).all(-1)[..., None, None], primal(matrix), _scaled(vectors, level) @ vectors.mT
    )
    totals = (section.total_lower, section.total_upper) if isinstance(section, BoxSection) else (None, None)
    is_fixed = totals[0] is totals[1]

    def expand(
        order: int, matrix: Tensor, lower: Tensor | None, upper: Tensor | None, *totals: Tensor | None
    ) -> Tensor:
        own = Box(lower, upper)
        if isinstance(section, BoxSection):
            own = BoxSection(None, lower, upper, totals[0], totals[0] if is_fixed else totals[1])
        rotated = vectors.mT @ matrix @ vectors
        return vectors @ _expand_section(order, values, level, rotated - primal(rotated), own) @ vectors.mT

    return deferred(nearest, expand, matrix, section.lower, section.upper, totals[0], None if is_fixed else totals[1])


def _expand_section(order: int, values: Tensor, level: Tensor, e: Tensor, section: Box | BoxSection) -> Tensor:
    """Return the projection of ``diag(values) + e``; regions are the entries at one bound, at the other, and free.

    Free eigenvalues all move by the same amount, which depends on their sum.
    """
    below = _at(level, section.lower, torch.le)
    above = _at(level, section.upper, torch.ge) & ~below
    free = (~(below | above)).to(values.dtype)
    region = above.to(values.dtype) - below.to(values.dtype)
    weights = _inverse_gaps(values, region)
    turned = (weights * e.square()).sum(-1) if order > 1 else torch.zeros_like(values)
    moved = values + _diagonal(e) + turned
    projected = section.project(moved)
    slopes = torch.where(weights != 0, _pairs(torch.where(free > 0, level, projected)) * weights, _both(free))
    slopes = slopes + (primal(slopes).clamp(0.0, 1.0) - primal(slopes))
    first = slopes * e
    result = first + torch.diag_embed(projected - free * turned - _diagonal(first))
    if order == 1:
        return result
    shift = (free * (moved - projected)).sum(-1, keepdim=True) / free.sum(-1, keepdim=True).clamp_min(1.0)
    shift = (shift - primal(shift)).expand_as(values)
    return result + _second_order(slopes, e - torch.diag_embed(shift), weights, region)


@dataclass(frozen=True, eq=False)
class SingularValues:
    """The singular values of a matrix with derivatives, and those of them that a function shrinks.

    With ``matrix = u ((s + d) v' + rest)``, where `d` and `rest` are zero but for their derivatives, functions of the
    singular values are functions of ``matrix matrix' = u (s^2 + e) u'``.

    Attributes
    ----------
    order : int
        The order of the derivatives, 1 or 2.
    matrix : Tensor, shape (*batch, n, m)
        With ``n <= m``, and largest singular value around 1.
    factors : tuple of Tensor
        Its singular value decomposition, without derivatives.
    free : Tensor, shape (*batch, n)
        1 for the largest singular values, all of them positive; 0 for the others.
    """

    order: int
    matrix: Tensor
    factors: tuple[Tensor, Tensor, Tensor]
    free: Tensor

    @cached_property
    def values(self) -> Tensor:
        """The singular values; second derivatives are those of the sum of the free ones."""
        _, s, _ = self.factors
        change = _diagonal(self._e)
        if self.order > 1:
            bend = self._weights - _both(self.free) / (2 * self._safe.unsqueeze(-2) * self._sums)
            change = change + (bend * self._e.square()).sum(-1)
        return s + self.free * change / (2 * self._safe)

    def shrunk(self, threshold: Tensor) -> Tensor:
        """Return ``sum_i (s_i - threshold) u_i v_i'`` over the free ones, ``f(matrix matrix') matrix``.

        The function is ``f(s^2) = 1 - threshold / s`` where singular values are free, and zero elsewhere.
        """
        u, s, vh = self.factors
        e, d, rest = self._e, *self._parts
        safe, sums, both = self._safe, self._sums, _both(self.free)
        level = self.free * (1 - threshold.unsqueeze(-1) / safe)
        curve = -both * threshold[..., None, None] / (_both(safe) * sums)
        slopes = torch.where(self._weights != 0, _pairs(level) * self._weights, -curve)
        change, own = slopes * e, level.unsqueeze(-1)
        if self.order == 1:
            return u @ ((torch.diag_embed(level * s) + own * d + change * s.unsqueeze(-2)) @ vh + own * rest)
        left, right = both * e / safe.unsqueeze(-2), both * e / sums
        inner = left @ right + safe.unsqueeze(-2) * ((left / sums) @ right)
        change = change + _second_order(slopes, e, self._weights, self.free) + curve * inner
        change = change + torch.diag_embed(level)
        return u @ ((change * s.unsqueeze(-2) + change @ d) @ vh + change @ rest)

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        u, _, vh = self.factors
        rotated = u.mT @ self.matrix
        core = rotated @ vh.mT
        rest = rotated - core @ vh
        return core - primal(core), rest - primal(rest)

    @cached_property
    def _e(self) -> Tensor:
        d, rest = self._parts
        product = _scaled(d, self.factors[1])
        result = product + product.mT
        return result if self.order == 1 else result + d @ d.mT + rest @ rest.mT

    @cached_property
    def _weights(self) -> Tensor:
        return _inverse_gaps(self.factors[1], self.free, squares=True)

    @cached_property
    def _safe(self) -> Tensor:
        s = self.factors[1]
        return torch.where(self.free > 0, s.clamp_min(torch.finfo(s.dtype).eps), 1.0)

    @cached_property
    def _sums(self) -> Tensor:
        return self._safe.unsqueeze(-1) + self._safe.unsqueeze(-2)


def _second_order(slopes: Tensor, e: Tensor, weights: Tensor, region: Tensor) -> Tensor:
    """Return ``sum_k f[i, k, j] e_ik e_kj`` over all `k`, but for `i`, `j` and `k` in one region.

    For `i` and `j` in two regions ``f[i, k, j] = (f[i, k] - f[k, j]) / (x_i - x_j)``, for `i` and `j` in one
    ``f[i, k, j] = (f[i, k] - f[i, j]) / (x_k - x_j)``.
    """
    first, turn = slopes * e, weights * e
    product = first @ e
    same = region.unsqueeze(-1) == region.unsqueeze(-2)
    return torch.where(same, first @ turn - slopes * (e @ turn), weights * (product - product.mT))


def _inverse_gaps(values: Tensor, region: Tensor, *, squares: bool = False) -> Tensor:
    """Return ``1 / (x_i - x_j)`` for entries of two regions, else 0; `x` are the values or their squares."""
    gap = _pairs(values)
    if squares:
        gap = gap * (values.unsqueeze(-1) + values.unsqueeze(-2))
    least = torch.finfo(values.dtype).tiny ** 0.75
    apart = (_pairs(region) != 0) & (gap.abs() > least)
    return torch.where(apart, 1 / torch.where(apart, gap, 1.0), 0.0)


def _at(level: Tensor, bound: Tensor | None, meets: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return torch.zeros_like(level, dtype=torch.bool) if bound is None else meets(level, primal(bound))


def _scaled(matrix: Tensor, factors: Tensor) -> Tensor:
    """Multiply each column by a factor."""
    return matrix * factors.unsqueeze(-2)


def _pairs(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) - x.unsqueeze(-2)


def _both(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) * x.unsqueeze(-2)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)
