"""The power cone ``{(x, y, z) : x^alpha y^(1 - alpha) >= |z|, x, y >= 0}``.

A point ``(x0, y0, w)``, ``w > 0``, outside the cone and its polar has the projection ``(x, y, r)`` with
``x (x - x0) = alpha r (w - r)``, ``y (y - y0) = (1 - alpha) r (w - r)``, and the height `r` is the only root of
``x^alpha y^(1 - alpha) = r`` between 0 and `w` (Hien, "Differential properties of Euclidean projection onto power
cone", 2015). Here the unknown is ``log((w - r) / r)``, which is accurate for `r` next to 0 and to `w`.
"""

import math

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import define
from optlayers.autograd.primal import primal
from optlayers.cones.common import dyad, normalise
from optlayers.cones.root_search import find_root


def project(z: Tensor, alpha: float | Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``, without derivatives."""
    z = primal(z)
    v, size = normalise(z)
    exponent = _exponents(alpha, v)
    x, y, r, _ = _boundary_point(v, exponent)
    boundary = torch.stack([x, y, r.copysign(v[..., 2])], -1) * size
    face = torch.cat([z[..., :2].clamp_min(0.0), torch.zeros_like(z[..., 2:])], -1)
    inside, polar, flat = (mask.unsqueeze(-1) for mask in _regions(v, exponent))
    return torch.where(inside, z, torch.where(polar, 0.0, torch.where(flat, face, boundary)))


def jacobian(z: Tensor, alpha: float | Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, without derivatives.

    On the boundary ``g = |z| - x^alpha y^(1 - alpha) = 0``, where ``z - s = mu grad g(s)``, it is the inverse of ``I +
    mu Hess g(s)`` on the tangent plane. With ``a = (1 / x, -1 / y, 0)``, ``Hess g = alpha (1 - alpha) r a a'``, and `a`
    is orthogonal to `s`: the eigenvectors are `s`, of eigenvalue 1, and the tangent orthogonal to it.
    """
    v, _ = normalise(primal(z))
    exponent = _exponents(alpha, v)
    ray, tangent, share = _eigenvectors(v, exponent)
    boundary = dyad(ray) + dyad(share.sqrt().unsqueeze(-1) * tangent)
    inside, polar, flat = (mask[..., None, None] for mask in _regions(v, exponent))
    identity = torch.eye(3, dtype=v.dtype, device=v.device)
    outside = torch.where(flat, _flat_jacobian(v, exponent), boundary)
    return torch.where(inside, identity, torch.where(polar, 0.0, outside))


def _exponents(alpha: float | Tensor, v: Tensor) -> Tensor:
    if isinstance(alpha, Tensor):
        return primal(alpha).to(v).expand(v.shape[:-1])
    return torch.full_like(v[..., 0], alpha)


def _regions(v: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where points lie in the cone, where in its polar, and where they have no height."""
    x, y, z = v.unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x**alpha * y ** (1 - alpha) >= z.abs())
    polar = (x <= 0) & (y <= 0) & ((-x / alpha) ** alpha * (-y / (1 - alpha)) ** (1 - alpha) >= z.abs())
    return inside, polar, z == 0


def _boundary_point(v: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `x`, `y`, `r` and the multiplier ``w - r`` of points in neither of the regions."""
    tau = _operator(v, alpha)
    x0, y0, w = v[..., 0], v[..., 1], v[..., 2].abs()
    r, mu = w * torch.sigmoid(-tau), w * torch.sigmoid(tau)
    reach = r.sqrt() * mu.sqrt()
    return _root(x0, alpha.sqrt() * reach)[0], _root(y0, (1 - alpha).sqrt() * reach)[0], r, mu


def _root(x0: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positive root of ``x (x - x0) = reach^2``, and ``(x - x0) / (2 x - x0)``."""
    width = torch.hypot(x0, 2 * reach).clamp_min(torch.finfo(x0.dtype).tiny)
    large = (x0.abs() + width) / 2
    small = reach * (reach / large)
    return torch.where(x0 > 0, large, small), torch.where(x0 > 0, small, large) / width


def _eigenvectors(v: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unit vectors along `s` and the other tangent, and the eigenvalue of the latter, ``(*batch,)``."""
    x, y, r, mu = _boundary_point(v, alpha)
    ray, size = normalise(torch.stack([x, y, r.copysign(v[..., 2])], -1))
    length = torch.linalg.vector_norm(ray, dim=-1, keepdim=True).clamp_min(1.0)
    ray, size = ray / length, (size * length).squeeze(-1)
    x, y, z = ray.unbind(-1)
    # x y times the cross product of s and the normal (-alpha z / x, -(1 - alpha) z / y, sign z), and of a and that
    right, left = y.square() + (1 - alpha) * z.square(), x.square() + alpha * z.square()
    tangent, scale = normalise(
        torch.stack([x * right, -y * left, z * (alpha * y.square() - (1 - alpha) * x.square())], -1)
    )
    length = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True).clamp_min(1.0)
    bend = (right + left) / (scale * length).squeeze(-1).clamp_min(torch.finfo(v.dtype).tiny)
    stiffness = (alpha * (1 - alpha) * mu).sqrt() * (z.abs() / size).sqrt() * bend
    return ray, tangent / length, 1 / (1 + stiffness.square())


def _flat_jacobian(v: Tensor, alpha: Tensor) -> Tensor:
    """Return the derivative at ``(x, y, 0)`` with one positive and one negative entry.

    Next to it the height is ``r = x (c (w - r) / |y|)^(c / (1 - c))`` where, say, `x` is positive, with the exponent
    ``1 - c``: that is all of `w`, nothing, or a share of it when both exponents are equal.
    """
    x, y, _ = v.unbind(-1)
    exponent, above, below = torch.where(x > 0, alpha, 1 - alpha), x.maximum(y), -x.minimum(y)
    share = above / (above + 2 * below).clamp_min(torch.finfo(v.dtype).tiny)
    height = torch.where(exponent > 0.5, 1.0, torch.where(exponent < 0.5, 0.0, share))
    return torch.diag_embed(torch.stack([(x > 0).to(v.dtype), (y > 0).to(v.dtype), height], -1))


def _search_height(v: Tensor, alpha: Tensor) -> Tensor:
    """Return ``tau = log((w - r) / r)``, ``(*batch,)``; any number where no height is needed.

    ``log(x^alpha y^(1 - alpha) / r)`` increases in `tau`, with a slope between 0 and 1. It is nearly linear in
    ``exp(tau)`` next to the cone, and in ``exp(-tau)`` next to the polar cone.
    """
    x0, y0, w = v[..., 0], v[..., 1], v[..., 2].abs()
    right, left = (x0 >= 0) & (y0 >= 0), (x0 <= 0) & (y0 <= 0)
    root_a, root_b = alpha.sqrt(), (1 - alpha).sqrt()

    def function(tau: Tensor) -> tuple[Tensor, ...]:
        share = torch.sigmoid(tau)
        r = w * torch.sigmoid(-tau)
        reach = r.sqrt() * (w * share).sqrt()
        (x, along_x), (y, along_y) = _root(x0, root_a * reach), _root(y0, root_b * reach)
        along = alpha * along_x + (1 - alpha) * along_y
        value = alpha * (x / r).log() + (1 - alpha) * (y / r).log()
        step = value / (along * (1 - share) + share * (1 - along))
        bent = torch.where(right, -torch.log1p(-step), torch.where(left, torch.log1p(step), step))
        return value, bent, step

    # beyond these bounds, r or w - r is zero up to rounding, and so is the root of their product
    most = torch.full_like(w, -2.25 * math.log(torch.finfo(v.dtype).eps))
    lower = torch.where(function(most)[0] <= 0, most, -most)
    upper = torch.where(function(-most)[0] >= 0, -most, most)
    needed = ~torch.stack(torch.broadcast_tensors(*_regions(v, alpha))).any(0)
    return find_root(function, torch.where(needed, lower, 0.0), torch.where(needed, upper, 0.0))


_operator = define("power_height", {"v": 1, "alpha": 0}, _search_height)
