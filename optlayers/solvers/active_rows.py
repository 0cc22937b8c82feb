"""The rows that are active in each sample, packed: as many places as the sample with the most of them needs."""

import torch
from torch import Tensor

from optlayers.solvers.conic_program import ConicProgram


class ActiveRows:
    """Which rows of a program are active, given as ``(samples, m)``.

    There are `most` places, at least the number of active rows of each sample; by default that of the busiest.
    """

    def __init__(self, active: Tensor, most: int | None = None) -> None:
        self.width = active.shape[-1]
        self.filled: Tensor | None = None  # which places have a row; None: all
        if len(active) == 1 and most is None:
            self.order = active.nonzero()[:, 1].unsqueeze(0)
        else:
            if most is None:
                most = int(active.sum(-1).amax()) if active.numel() else 0
            self.order = active.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]
            self.filled = active.gather(-1, self.order)

    @property
    def most(self) -> int:
        """The number of places."""
        return self.order.shape[-1]

    def take(self, values: Tensor) -> Tensor:
        """Return the active ones of values of all rows, ``(samples, most)``, zero in places without row."""
        taken = values.gather(-1, self.order)
        return taken if self.filled is None else torch.where(self.filled, taken, 0.0)

    def put(self, values: Tensor) -> Tensor:
        """Return values of all rows, ``(samples, m)``, zero where they are not active."""
        zeros = values.new_zeros(values.shape[0], self.width)
        return zeros.scatter(-1, self.order, values if self.filled is None else torch.where(self.filled, values, 0.0))

    def gram(self, program: ConicProgram, proximal: float, free: Tensor | None = None) -> Tensor:
        """Return ``A A' + proximal`` of the active rows, ``(samples, most, most)``, and the identity elsewhere.

        With `free`, ``(samples, n)``, only those entries count.
        """
        if program.gram is not None and free is None:
            samples, most = self.order.shape
            chosen = program.gram.index_select(0, self.order.reshape(-1)).reshape(samples, most, self.width)
            matrix = chosen.gather(-1, self.order.unsqueeze(1).expand(samples, most, most))
            if self.filled is not None:
                filled = self.filled.to(matrix.dtype)
                matrix = matrix * filled.unsqueeze(-1) * filled.unsqueeze(-2)
        else:
            rows = program.chosen_rows(self.order)
            rows = rows if self.filled is None else rows * self.filled.unsqueeze(-1)
            rows = rows if free is None else rows * free.unsqueeze(-2)
            matrix = rows @ rows.mT
        if self.filled is None:
            matrix.diagonal(dim1=-2, dim2=-1).add_(proximal)
            return matrix
        return matrix + torch.diag_embed(torch.where(self.filled, proximal, 1.0).to(matrix.dtype))
