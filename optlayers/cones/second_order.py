"""The second-order cone ``{(t, x) : ||x|| <= t}`` (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1)."""

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.cones.common import dyad, normalise


def project(z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``, differentiable."""
    v, size = normalise(z)
    head, tail = v[..., :1], v[..., 1:]
    norm = torch.linalg.vector_norm(tail, dim=-1, keepdim=True)
    middle = (head + norm) / 2
    boundary = size * torch.cat([middle, tail * (middle / torch.where(norm > 0, norm, 1.0))], -1)
    return torch.where(norm <= head, z, torch.where(norm <= -head, 0.0, boundary))


def jacobian(z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, without derivatives.

    On the boundary, with ``u = x / ||x||`` and ``c = t / ||x||``, it is half of ``[[1, u'], [u, (1 + c) I - c u u']]``.
    """
    v, _ = normalise(primal(z))
    head, tail = v[..., :1], v[..., 1:]
    norm = torch.linalg.vector_norm(tail, dim=-1, keepdim=True)
    length = torch.where(norm > 0, norm, 1.0)
    ratio = (head / length).clamp(-1.0, 1.0).unsqueeze(-1)
    ray = torch.cat([torch.ones_like(head), tail / length], -1)
    pole = torch.cat([torch.ones_like(head), -tail / length], -1)
    # the eigenvectors are (1, u), of eigenvalue 1, (1, -u), of eigenvalue 0, and those orthogonal to both
    identity = torch.eye(v.shape[-1], dtype=v.dtype, device=v.device)
    one, zero = dyad(ray) / 2, dyad(pole) / 2
    boundary = one + (1 + ratio) / 2 * (identity - one - zero)
    inside, polar = (norm <= head).unsqueeze(-1), (norm <= -head).unsqueeze(-1)
    return torch.where(inside, identity, torch.where(polar, 0.0, boundary))
