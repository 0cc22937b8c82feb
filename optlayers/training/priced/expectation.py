"""Averages over mini-batches, for constraints on expectations."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.training.priced.lazy_buffers import LazyBuffers
from optlayers.training.schedules.arguments import check_number


class MovingAverage(LazyBuffers):
    """The exponential moving average of a stream of tensors, divided by the sum of its weights.

    The first value is therefore its own average, not a fraction of it (the correction of Kingma and Ba, Adam, 2015).

    Parameters
    ----------
    weight : float
        Of the past, in [0, 1).
    """

    mean: Tensor
    total: Tensor

    def __init__(self, weight: float) -> None:
        super().__init__("mean", "total")
        check_number("weight", weight, least=0.0, below=1.0)
        self.weight = weight

    def peek(self, values: Tensor) -> Tensor:
        """Return what the average would be with these values, without derivatives."""
        mean, total = self._next(values)
        return mean / total

    @torch.no_grad()
    def update(self, values: Tensor) -> Tensor:
        """Take values in, and return the average."""
        self.mean, self.total = self._next(values)
        return self.mean / self.total

    @torch.no_grad()
    def _next(self, values: Tensor) -> tuple[Tensor, Tensor]:
        self.materialise(values, mean=values.shape, total=())
        if self.mean.shape != values.shape:
            raise ValueError(
                f"an average over mini-batches needs values of one shape, got {tuple(values.shape)} after "
                f"{tuple(self.mean.shape)}: return the mini-batch's mean, or use items= for constraints on samples"
            )
        rest = 1 - self.weight
        return self.weight * self.mean + rest * values, self.weight * self.total + rest
