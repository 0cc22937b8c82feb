"""Torch functions of data, equal where they do the same, so that blocks with equal functions are run as one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Select:
    """Entries of a vector."""

    index: tuple[int, ...]

    def __call__(self, vector: Tensor) -> Tensor:
        return vector[..., list(self.index)]


@dataclass(frozen=True)
class Times:
    """A multiple, or one for each entry."""

    factor: float | tuple[float, ...]

    def __call__(self, data: Tensor) -> Tensor:
        return data * (self.factor if isinstance(self.factor, float) else data.new_tensor(self.factor))


@dataclass(frozen=True)
class Reshape:
    """Another shape of the last `dimensions`."""

    dimensions: int
    shape: tuple[int, ...]

    def __call__(self, data: Tensor) -> Tensor:
        return data.reshape(*data.shape[: data.ndim - self.dimensions], *self.shape)


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return ``matrix @ vector``."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def join(*vectors: Tensor) -> Tensor:
    """Return vectors joined."""
    batch = torch.broadcast_shapes(*(vector.shape[:-1] for vector in vectors))
    return torch.cat([vector.expand(*batch, vector.shape[-1]) for vector in vectors], -1)


def maximum(*tensors: Tensor) -> Tensor:
    """Return the entrywise maximum."""
    return torch.stack(torch.broadcast_tensors(*tensors)).amax(0)


def minimum(*tensors: Tensor) -> Tensor:
    """Return the entrywise minimum."""
    return torch.stack(torch.broadcast_tensors(*tensors)).amin(0)


def is_uniform(function: Callable[..., Tensor]) -> bool:
    """Whether a function is known to keep vectors of equal entries such."""
    if isinstance(function, Times):
        return isinstance(function.factor, float)
    return isinstance(function, Select) or function in (maximum, minimum)
