"""The exponential cone ``{(x, y, z) : y exp(x / y) <= z, y > 0}`` and its closure.

A point outside the cone and its polar is ``y (rho, 1, exp(rho)) + u (1, 1 - rho, -exp(-rho))``, with ``y, u > 0``: a
boundary ray of the cone, and the ray of the polar cone that is normal to it. Two of the equations give `y` and `u` as
functions of the slope `rho`, and the third is increasing in it (Friberg, "Projection onto the exponential cone: a
univariate root-finding problem", 2021).
"""

import math

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import define
from optlayers.autograd.primal import primal
from optlayers.cones.common import dyad, normalise
from optlayers.cones.root_search import find_root


def project(z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``, without derivatives."""
    z = primal(z)
    v, size = normalise(z)
    rho = _operator(v)
    y, u, _, _ = _rays(v, rho)
    # each entry from an equation in which nothing cancels
    top = torch.where(rho > 0, v[..., 2] + u * (-rho).exp(), y * rho.exp()).clamp_min(0.0)
    y = torch.where(rho > 0, top * (-rho).exp(), y)
    boundary = torch.stack([rho * y, y, top], -1) * size
    face = torch.stack([z[..., 0], torch.zeros_like(y), z[..., 2].clamp_min(0.0)], -1)
    inside, polar, beside = (mask.unsqueeze(-1) for mask in _regions(v))
    return torch.where(inside, z, torch.where(polar, 0.0, torch.where(beside, face, boundary)))


def jacobian(z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, without derivatives.

    On the boundary ``g = y exp(x / y) - z = 0``, where ``z - s = mu grad g(s)``, it is the inverse of ``I + mu Hess
    g(s)`` on the tangent plane. With ``a = (1, -rho, 0)``, ``mu Hess g = (u / y) a a'``, and `a` is orthogonal to `s`:
    the eigenvectors are `s`, of eigenvalue 1, and the tangent orthogonal to it.
    """
    v, _ = normalise(primal(z))
    rho = _operator(v)
    y, u, _, _ = _rays(v, rho)
    ray, tangent, bend = _frame(rho)
    y, stiffness = y.clamp_min(0.0), (u.clamp_min(0.0).sqrt() * bend).square()
    share = y / (y + stiffness).clamp_min(torch.finfo(y.dtype).tiny)
    boundary = dyad(ray) + dyad(share.sqrt().unsqueeze(-1) * tangent)
    above = (v[..., 2] > 0).to(v.dtype)
    face = torch.diag_embed(torch.stack([torch.ones_like(above), torch.zeros_like(above), above], -1))
    inside, polar, beside = (mask[..., None, None] for mask in _regions(v))
    identity = torch.eye(3, dtype=v.dtype, device=v.device)
    return torch.where(inside, identity, torch.where(polar, 0.0, torch.where(beside, face, boundary)))


def _regions(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where points lie in the cone, where in its polar, and where ``(x, 0, max(z, 0))`` is nearest."""
    x, y, z = v.unbind(-1)
    inside = (y > 0) & (y * (x / y).exp() <= z)
    polar = (x > 0) & (z <= -x * (y / x - 1).exp())
    return inside, polar, (x <= 0) & (y <= 0)


def _rays(v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `y` and `u` of the first two equations, and their derivatives in `rho`.

    ``y = ((rho - 1) x0 + y0) / q`` and ``u = (x0 - rho y0) / q`` with ``q = rho^2 - rho + 1``; fractions are reduced by
    the size of `rho`, whose square may overflow.
    """
    x0, y0, _ = v.unbind(-1)
    k = 1 / rho.abs().clamp_min(1.0)
    slope = rho * k
    q, growth = (rho - 1) * slope + k, k * (2 * rho - 1)
    y, u = ((slope - k) * x0 + k * y0) / q, (k * x0 - slope * y0) / q
    return y, u, (k * x0 - y * growth) / q, (-k * y0 - u * growth) / q


def _frame(rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unit vectors along `s` and the other tangent, and the length of ``(1, -rho, 0)`` along the latter."""
    k, decay, right = 1 / rho.abs().clamp_min(1.0), (-rho.abs()).exp(), rho > 0
    along, across = torch.where(right, decay, k), torch.where(right, k, decay)
    ray = torch.stack([rho * along, along, torch.where(right, 1.0, k * decay)], -1)
    normal = torch.stack([across, (1 - rho) * across, torch.where(right, -k * decay, -1.0)], -1)
    ray_length, normal_length = (torch.linalg.vector_norm(t, dim=-1, keepdim=True) for t in (ray, normal))
    ray, normal = ray / ray_length, normal / normal_length
    square = k + rho * k * rho
    reach = torch.where(right, k + square * decay.square(), k * decay.square() + square)
    return ray, torch.linalg.cross(ray, normal), reach / (ray_length * normal_length).squeeze(-1)


def _search_slope(v: Tensor) -> Tensor:
    """Return `rho`, ``(*batch,)``, of points with largest entry 1; any number where no slope is needed.

    The third equation ``y exp(rho) = z0 + u exp(-rho)`` is solved in logarithms, with the negative part of `z0` on the
    left side.
    """
    lower, upper = _bracket(v)
    needed = ~torch.stack(_regions(v)).any(0)
    lower, upper = torch.where(needed, lower, 0.0), torch.where(needed, upper, 0.0)
    rise, fall = v[..., 2].clamp_min(0.0), (-v[..., 2]).clamp_min(0.0)

    def function(rho: Tensor) -> tuple[Tensor, ...]:
        y, u, dy, du = _rays(v, rho)
        decay = (-rho.abs()).exp()
        cone, polar = torch.where(rho > 0, 1.0, decay.square()), torch.where(rho > 0, decay.square(), 1.0)
        left, right = y * cone + fall * decay, u * polar + rise * decay
        up, down = (y + dy) * cone, (u - du) * polar
        value = (left / right).log()
        return value, value / (up / left + down / right), (left - right) / (up + down)

    return find_root(function, lower, upper)


def _bracket(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds on `rho`.

    From ``y > 0`` and ``u > 0``; from ``y exp(rho) > z0`` and ``u exp(-rho) > -z0`` with the largest `y` and `u` of all
    slopes; and from ``y exp(rho) <= 2`` and ``u exp(-rho) <= 2``, as both parts are shorter than the point.
    """
    x0, y0, z0 = v.unbind(-1)
    tiny, far = torch.finfo(v.dtype).tiny, -math.log(torch.finfo(v.dtype).tiny)
    first, last = torch.where(x0 > 0, 1 - y0 / x0, -torch.inf), torch.where(y0 > 0, x0 / y0, torch.inf)
    lower = first.maximum(torch.where(z0 > 0, (z0 / _largest_ray(x0, y0).clamp_min(tiny)).log(), -torch.inf))
    upper = last.minimum(torch.where(z0 < 0, -(-z0 / _largest_ray(y0, x0).clamp_min(tiny)).log(), torch.inf))
    above = first + 2 * _most_decay(lower.clamp(-far, far)) / x0
    below = last - 2 * math.e * _most_decay(1 - upper.clamp(-far, far)) / y0
    lower, upper = torch.where(y0 > 0, lower.maximum(below), lower), torch.where(x0 > 0, upper.minimum(above), upper)
    most = torch.finfo(v.dtype).max
    return lower.clamp(-most, most), upper.clamp(-most, most)


def _largest_ray(x0: Tensor, y0: Tensor) -> Tensor:
    """Return the maximum of ``((rho - 1) x0 + y0) / (rho^2 - rho + 1)``: the root of ``3 m^2 + 2 c m = x0^2``."""
    c = x0 - 2 * y0
    root = torch.hypot(c, x0 * 3**0.5)
    return torch.where(c > 0, x0 * (x0 / (c + root)), (root - c) / 3)


def _most_decay(rho: Tensor) -> Tensor:
    """Return the maximum of ``(t^2 - t + 1) exp(-t)`` over ``t >= rho``; its only local maximum is at 2."""
    value = (rho * (rho - 1) + 1) * (-rho).exp()
    return torch.where(rho < 2, value.clamp_min(3 * math.exp(-2)), value)


_operator = define("exponential_slope", {"v": 1}, _search_slope)
