"""Functions of eigenvalues and of singular values, with first and second derivatives, repeated values included.

Eigenvectors are found without derivatives. Around them a function of the eigenvalues has the expansion

    F(E) = diag(f) + f[i, j] E_ij + sum_k f[i, k, j] E_ik E_kj + ...

with divided differences of `f` (Daleckii and Krein, 1965; Lewis and Sendov, "Twice differentiable spectral functions",
2001), where `E` is zero but carries the derivatives. Here `f` is smooth on each of a few regions of eigenvalues, so
that only differences between eigenvalues of two regions are divided by, which are not zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from optlayers.cones.common import primal
from optlayers.parametric.constants import is_traced
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection


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
    result = torch.where(
        unchanged(level, values), primal(matrix), (vectors * level.unsqueeze(-2)) @ vectors.mT
    )
    data = (matrix, section.lower, section.upper)
    if isinstance(section, BoxSection):
        data = (*data, section.total_lower, section.total_upper)
    if not has_derivatives(*data):
        return result
    rotated = _conjugate(vectors.mT, matrix)
    expansion = _conjugate(vectors, _expand_section(values, level, rotated - primal(rotated), section))
    return expansion + (result - primal(expansion))


def _expand_section(values: Tensor, level: Tensor, e: Tensor, section: Box | BoxSection) -> Tensor:
    """Return the projection of ``diag(values) + e``; regions are the entries at one bound, at the other, and free.

    Free eigenvalues all move by the same amount, which depends on their sum.
    """
    below = _at(level, section.lower, torch.le)
    above = _at(level, section.upper, torch.ge) & ~below
    free = (~(below | above)).to(values.dtype)
    region = above.to(values.dtype) - below.to(values.dtype)
    weights = _inverse_gaps(values, region)
    moved = _diagonal(e)
    turned = (weights * e.square()).sum(-1)
    projected = section.project(values + moved + turned)
    shift = (free * (values + moved + turned - projected)).sum(-1) / free.sum(-1).clamp_min(1.0)
    shift = shift - primal(shift)
    slopes = torch.where(weights != 0, _pairs(torch.where(free > 0, level, projected)) * weights, _both(free))
    slopes = slopes + (primal(slopes).clamp(0.0, 1.0) - primal(slopes))
    first = slopes * e
    second = _second_order(slopes, e - torch.diag_embed(shift.unsqueeze(-1).expand_as(values)), weights, region)
    return torch.diag_embed(projected - free * turned - _diagonal(first)) + first + second


def shrink_singular_values(
    matrix: Tensor, factors: tuple[Tensor, Tensor, Tensor], free: Tensor, threshold: Tensor
) -> Tensor:
    """Return ``sum_i (s_i - threshold) u_i v_i'`` over the free singular values, as a function of the matrix.

    With ``matrix = (s + d) v' + d_rest`` in the basis `u`, it is ``f(matrix matrix') matrix`` for the function
    ``f(s^2) = 1 - threshold / s`` of the free eigenvalues, and zero for the others.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n, m)
        With ``n <= m``, and largest singular value around 1.
    factors : tuple of Tensor
        Its singular value decomposition, without derivatives.
    free : Tensor, shape (*batch, n)
        1 for the largest singular values, all of them positive; 0 for the others.
    threshold : Tensor, shape (*batch,)
    """
    u, s, vh = factors
    d, rest, e = _rotate(matrix, factors)
    weights = _inverse_gaps(s, free, squares=True)
    floor = torch.finfo(s.dtype).eps
    safe = torch.where(free > 0, s.clamp_min(floor), 1.0)
    sums = safe.unsqueeze(-1) + safe.unsqueeze(-2)
    curve = -_both(free) * threshold[..., None, None] / (safe.unsqueeze(-1) * safe.unsqueeze(-2) * sums)
    level = free * (1 - threshold.unsqueeze(-1) / safe)
    slopes = torch.where(weights != 0, _pairs(level) * weights, -curve)
    within = _both(free) * e
    left, right = within / safe.unsqueeze(-2), within / sums
    inner = left @ right + safe.unsqueeze(-2) * ((left / sums) @ right)
    change = torch.diag_embed(level) + slopes * e + _second_order(slopes, e, weights, free) + curve * inner
    return u @ ((change * s.unsqueeze(-2) + change @ d) @ vh + change @ rest)


def expand_singular_values(matrix: Tensor, factors: tuple[Tensor, Tensor, Tensor], free: Tensor) -> Tensor:
    """Return the singular values with derivatives, second ones for the sum of the free ones; see `shrink`."""
    _, s, _ = factors
    _, _, e = _rotate(matrix, factors)
    weights = _inverse_gaps(s, free, squares=True)
    safe = torch.where(free > 0, s.clamp_min(torch.finfo(s.dtype).eps), 1.0)
    sums = safe.unsqueeze(-1) + safe.unsqueeze(-2)
    bend = weights - _both(free) / (2 * safe.unsqueeze(-2) * sums)
    return s + free * (_diagonal(e) + (bend * e.square()).sum(-1)) / (2 * safe)


def _rotate(matrix: Tensor, factors: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return `d`, `rest` and ``matrix matrix' - s^2`` in the basis `u`; all are zero but for their derivatives."""
    u, s, vh = factors
    rotated = u.mT @ matrix
    core = rotated @ vh.mT
    rest = rotated - core @ vh
    d, rest = core - primal(core), rest - primal(rest)
    product = d * s.unsqueeze(-2)
    return d, rest, product + product.mT + d @ d.mT + rest @ rest.mT


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


def unchanged(level: Tensor, values: Tensor) -> Tensor:
    """Return where all entries of two tensors ``(*batch, n)`` are equal, ``(*batch, 1, 1)``."""
    return (level == values).all(-1)[..., None, None]


def _pairs(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) - x.unsqueeze(-2)


def _both(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) * x.unsqueeze(-2)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)


def _conjugate(basis: Tensor, matrix: Tensor) -> Tensor:
    return basis @ matrix @ basis.mT


def has_derivatives(*tensors: Tensor | None) -> bool:
    """Whether a result must carry derivatives in some of the tensors, as far as that is known."""
    if is_traced():
        return torch.is_grad_enabled() or not torch.compiler.is_compiling()
    given = [t for t in tensors if t is not None]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    return recorded or any(forward_ad.unpack_dual(t).tangent is not None for t in given)
