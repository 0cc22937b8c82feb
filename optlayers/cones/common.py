"""What the cones share: values without derivatives, derivatives attached to them, scaling, outer products."""

import torch
from torch import Tensor

from optlayers.autograd.primal import primal


def attach(value: Tensor, jacobian: Tensor, z: Tensor) -> Tensor:
    """Return `value`, ``(*batch, k)``, as a function of `z` with the derivative `jacobian`, ``(*batch, k, k)``."""
    return value + (jacobian @ (z - primal(z)).unsqueeze(-1)).squeeze(-1)


def normalise(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors divided by their largest absolute entry, and that entry, ``(*batch, 1)``, or 1 for zeros.

    A projection onto a cone commutes with scaling; without it, products over- and underflow. Entries whose reciprocal
    would overflow become zero.
    """
    size = primal(z).abs().amax(-1, keepdim=True)
    size = size.where(size > 0, 1.0)
    v = z / size
    return v.where((v == 0) | (v.abs() >= torch.finfo(v.dtype).tiny), 0.0), size


def dyad(vector: Tensor) -> Tensor:
    """Return the outer products of vectors with themselves, ``(*batch, k, k)``."""
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)
