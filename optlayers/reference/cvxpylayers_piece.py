"""All blocks together, projected onto by the reference method."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import Values
from optlayers.projection.iterative_piece import IterativePiece, Projected
from optlayers.recognition.block import Block
from optlayers.reference.cvxpylayers import Reference
from optlayers.solvers.status import Status


class ReferencePiece(IterativePiece):
    """Blocks together, with the constraints and the whole variables that they touch.

    Entries of these variables in other blocks are independent of them, and set to zero.
    """

    def __init__(self, blocks: Sequence[Block], snapshot: Snapshot) -> None:
        self.blocks = tuple(blocks)
        variables = snapshot.variables
        (entries,) = self.columns
        ends = list(itertools.accumulate(v.size for v in variables))
        touched = np.unique(np.searchsorted(ends, entries, side="right")).tolist()
        self.sizes = [variables[k].size for k in touched]
        columns = np.concatenate([np.arange(ends[k] - variables[k].size, ends[k]) for k in touched])
        self.entries = Constant(np.searchsorted(columns, entries))
        self.reference = Reference(snapshot.constraints, [variables[k] for k in touched], snapshot.parameters)

    @property
    def columns(self) -> np.ndarray:
        return np.sort(np.concatenate([block.columns for block in self.blocks]))[None]

    def method(self, block: int) -> str:
        return "it runs on cvxpylayers, as asked for: iterative, accurate to about 1e-5, slow."

    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        """Project points ``(*batch, 1, n)``; samples that fail come back as NaN."""
        if is_traced():
            raise NotImplementedError(
                "method='cvxpylayers' does not support torch.compile, torch.export, vmap or forward-mode derivatives; "
                "method='general' does"
            )
        batch = torch.broadcast_shapes(v.shape[:-2], *(t.shape[:-1] for t in values.tensors))
        samples, entries = math.prod(batch), self.entries.on(v.device)
        v = v.squeeze(-2).expand(*batch, v.shape[-1]).reshape(samples, v.shape[-1])
        whole = v.new_zeros(samples, sum(self.sizes)).index_copy(-1, entries, v)
        parameters = [t.expand(*batch, t.shape[-1]).reshape(samples, t.shape[-1]) for t in values.tensors]
        projected = self.reference.project(whole.split(self.sizes, -1), parameters)
        value = torch.cat(projected, -1).index_select(-1, entries).reshape(*batch, 1, v.shape[-1])
        failed = ~value.detach().isfinite().all(-1).squeeze(-1)
        status = torch.where(failed, int(Status.INFEASIBLE), int(Status.SOLVED))
        zeros = torch.zeros(batch, dtype=torch.int64, device=v.device)
        return Projected(value, status, torch.zeros_like(value[..., 0, 0]), zeros, value[..., :0], value[..., :0])


def make_reference_pieces(blocks: Sequence[Block], snapshot: Snapshot, labels: Sequence[str]) -> list[ReferencePiece]:
    """Put all blocks together, but for those of auxiliary entries alone."""
    blocks = [block for block in blocks if block.size]
    return [ReferencePiece(blocks, snapshot)] if blocks else []
