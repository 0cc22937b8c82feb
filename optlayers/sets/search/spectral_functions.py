"""Functions of eigenvalues and of singular values, with first and second derivatives, repeated values included.

Eigenvectors are found without derivatives. Around them a function of the eigenvalues has the expansion

    F(E) = diag(f) + f[i, j] E_ij + sum_k f[i, k, j] E_ik E_kj + ...

with divided differences of `f` (Daleckii and Krein, 1965; Lewis and Sendov, "Twice differentiable spectral functions",
2001), where `E` is zero but carries the derivatives. Here `f` is smooth on each of a few regions of eigenvalues, so
that only differences between eigenvalues of two regions are divided by, which are not zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from optlayers.autograd.deferred import deferred
from optlayers.autograd.primal import primal
from optlayers.sets.search.decompositions import eigh


class Section(Protocol):
    """A set of eigenvalues that no permutation changes, see `BoxSection`."""

    def project(self, v: Tensor) -> Tensor:
        """Project eigenvalues ``(*batch, n)``."""
        ...


def project_eigenvalues(
    matrix: Tensor, section: Callable[..., Section], lower: Tensor | None, upper: Tensor | None, *totals: Tensor
) -> Tensor:
    """Return the nearest symmetric matrix to a symmetric one, ``(*batch, n, n)``, whose eigenvalues are in a section.

    That is made of bounds, the same for all entries, and bounds on the sum.
    """
    values, vectors = eigh(primal(matrix))
    level = primal(section(lower, upper, *totals).project(values))
    unchanged = (level == values).all(-1)[..., None, None]
    nearest = torch.where(unchanged, primal(matrix), _scaled(vectors, level) @ vectors.mT)
    below = torch.zeros_like(level, dtype=torch.bool) if lower is None else level <= primal(lower)
    above = torch.zeros_like(below) if upper is None else (level >= primal(upper)) & ~below

    def expand(order: int, matrix: Tensor, *bounds: Tensor | None) -> Tensor:
        rotated = vectors.mT @ matrix @ vectors
        expansion = _expand_section(order, values, level, rotated - primal(rotated), section(*bounds), below, above)
        return vectors @ expansion @ vectors.mT

    return deferred(nearest, expand, matrix, lower, upper, *totals)


def _expand_section(
    order: int, values: Tensor, level: Tensor, e: Tensor, section: Section, below: Tensor, above: Tensor
) -> Tensor:
    """Return the projection of ``diag(values) + e``; regions are the entries at one bound, at the other, and free.

    Free eigenvalues all move by the same amount, which depends on their sum.
    """
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
    """The singular values of a matrix with derivatives of an order, and what is left when some of them shrink.

    With ``matrix = u ((s + d) v' + rest)``, where `d` and `rest` are zero but for their derivatives, functions of the
    singular values are functions of ``matrix matrix' = u (s^2 + e) u'``. Those that are `free`, 1 else 0, shrink; they
    are `safe`, away from zero. The `weights` are ``1 / (s_i^2 - s_j^2)`` where one of the two is free, else 0.
    """

    order: int
    factors: tuple[Tensor, Tensor, Tensor]
    free: Tensor
    d: Tensor
    rest: Tensor
    e: Tensor
    weights: Tensor
    safe: Tensor

    @staticmethod
    def of(order: int, matrix: Tensor, factors: tuple[Tensor, Tensor, Tensor], free: Tensor) -> "SingularValues":
        """Expand around a matrix ``(*batch, n, m)``, with ``n <= m`` and largest singular value around 1.

        The free singular values are the largest ones, and positive.
        """
        u, s, vh = factors
        rotated = u.mT @ matrix
        core = rotated @ vh.mT
        rest = rotated - core @ vh
        d, rest = core - primal(core), rest - primal(rest)
        e = _scaled(d, s) + _scaled(d, s).mT
        if order > 1:
            e = e + d @ d.mT + rest @ rest.mT
        safe = torch.where(free > 0, s.clamp_min(torch.finfo(s.dtype).eps), 1.0)
        return SingularValues(order, factors, free, d, rest, e, _inverse_gaps(s, free, squares=True), safe)

    def values(self) -> Tensor:
        """Return the singular values; second derivatives are those of the sum of the free ones."""
        change = _diagonal(self.e)
        if self.order > 1:
            bend = self.weights - _both(self.free) / (2 * self.safe.unsqueeze(-2) * _sums(self.safe))
            change = change + (bend * self.e.square()).sum(-1)
        return self.factors[1] + self.free * change / (2 * self.safe)

    def shrunk(self, threshold: Tensor) -> Tensor:
        """Return ``sum_i (s_i - threshold) u_i v_i'`` over the free ones, ``f(matrix matrix') matrix``.

        The function is ``f(s^2) = 1 - threshold / s`` where singular values are free, and zero elsewhere.
        """
        (u, s, vh), e, both, sums = self.factors, self.e, _both(self.free), _sums(self.safe)
        level = self.free * (1 - threshold.unsqueeze(-1) / self.safe)
        curve = -both * threshold[..., None, None] / (_both(self.safe) * sums)
        slopes = torch.where(self.weights != 0, _pairs(level) * self.weights, -curve)
        change, factor = slopes * e, level.unsqueeze(-1)
        if self.order == 1:
            core = torch.diag_embed(level * s) + factor * self.d + _scaled(change, s)
            return u @ (core @ vh + factor * self.rest)
        left, right = both * e / self.safe.unsqueeze(-2), both * e / sums
        inner = left @ right + _scaled((left / sums) @ right, self.safe)
        change = change + _second_order(slopes, e, self.weights, self.free) + curve * inner + torch.diag_embed(level)
        return u @ ((_scaled(change, s) + change @ self.d) @ vh + change @ self.rest)


def _second_order(slopes: Tensor, e: Tensor, weights: Tensor, region: Tensor) -> Tensor:
    """Return ``sum_k f[i, k, j] e_ik e_kj`` over all `k`, but for `i`, `j` and `k` in one region.

    For `i` and `j` in two regions ``f[i, k, j] = (f[i, k] - f[k, j]) / (x_i - x_j)``, for `i` and `j` in one
    ``f[i, k, j] = (f[i, k] - f[i, j]) / (x_k - x_j)``.
    """
    first, rotation = slopes * e, weights * e
    product = first @ e
    same = region.unsqueeze(-1) == region.unsqueeze(-2)
    return torch.where(same, first @ rotation - slopes * (e @ rotation), weights * (product - product.mT))


def _inverse_gaps(values: Tensor, region: Tensor, *, squares: bool = False) -> Tensor:
    """Return ``1 / (x_i - x_j)`` for entries of two regions, else 0; `x` are the values or their squares."""
    gap = _pairs(values)
    if squares:
        gap = gap * _sums(values)
    least = torch.finfo(values.dtype).tiny ** 0.75
    apart = (_pairs(region) != 0) & (gap.abs() > least)
    return torch.where(apart, 1 / torch.where(apart, gap, 1.0), 0.0)


def _scaled(matrix: Tensor, factors: Tensor) -> Tensor:
    """Multiply each column by a factor."""
    return matrix * factors.unsqueeze(-2)


def _pairs(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) - x.unsqueeze(-2)


def _sums(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) + x.unsqueeze(-2)


def _both(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) * x.unsqueeze(-2)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)
