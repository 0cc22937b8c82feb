"""The blocks that no closed form takes, projected onto by a method for any convex set."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.conic_form import ConicForm
from optlayers.parametric.constants import Constant, is_traced
from optlayers.parametric.maps import Values
from optlayers.projection.reference import Reference, is_empty
from optlayers.recognition.block import Block


class GeneralPiece:
    """All general blocks together, with the constraints and the whole variables that they touch.

    Entries of these variables in other blocks are independent of them, and set to zero.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        sources: set[int],
        form: ConicForm,
        constraints: Sequence[cp.Constraint],
        variables: Sequence[cp.Variable],
        parameters: Sequence[cp.Parameter],
    ) -> None:
        self.blocks = tuple(blocks)
        self.entries = np.sort(np.concatenate([block.columns for block in blocks]))
        self.shapes = [tuple(p.shape) for p in parameters]
        ends = list(itertools.accumulate(v.size for v in variables))
        touched = np.unique(np.searchsorted(ends, self.entries, side="right")).tolist()
        self.variable_shapes = [tuple(variables[k].shape) for k in touched]
        self.variable_sizes = [variables[k].size for k in touched]
        columns = np.concatenate([np.arange(ends[k] - variables[k].size, ends[k]) for k in touched])
        self.places = Constant(np.searchsorted(columns, self.entries))
        self.labels = tuple(form.labels[source] for source in sorted(sources))
        origins = sorted({form.origins[source] for source in sources} - {-1})
        self.method = Reference([constraints[k] for k in origins], [variables[k] for k in touched], parameters)

    def is_empty(self) -> bool:
        """Whether no point satisfies the constraints, as far as can be told without parameter values."""
        return not self.method.parameters and is_empty(self.method.constraints)

    def bind(self, values: Values) -> BoundGeneralPiece:
        """Return the set for these parameter values."""
        return BoundGeneralPiece(self, values)


@dataclass(frozen=True)
class BoundGeneralPiece:
    """A general piece with its parameter values; samples that fail come back as NaN."""

    piece: GeneralPiece
    values: Values

    def project(self, v: Tensor) -> Tensor:
        """Project points ``(*batch, 1, n)`` of the piece's own entries."""
        if is_traced():
            raise NotImplementedError(
                "sets without closed form run on cvxpylayers, which does not support torch.compile, torch.export, vmap "
                "or forward-mode derivatives; explain() says which blocks these are"
            )
        piece = self.piece
        batch = torch.broadcast_shapes(v.shape[:-2], *(t.shape[:-1] for t in self.values.tensors))
        v = v.squeeze(-2).expand(*batch, v.shape[-1]).reshape(math.prod(batch), v.shape[-1])
        places = piece.places.on(v.device)
        whole = v.new_zeros(v.shape[0], sum(piece.variable_sizes)).index_copy(-1, places, v)
        parts = whole.split(piece.variable_sizes, -1)
        points = [part.reshape(v.shape[0], *shape) for part, shape in zip(parts, piece.variable_shapes, strict=True)]
        parameters = [
            t.expand(*batch, t.shape[-1]).reshape(v.shape[0], *shape)
            for t, shape in zip(self.values.tensors, piece.shapes, strict=True)
        ]
        projected = piece.method.project(points, parameters)
        flat = (p.reshape(v.shape[0], size) for p, size in zip(projected, piece.variable_sizes, strict=True))
        joined = torch.cat(list(flat), -1)
        return joined.index_select(-1, places).reshape(*batch, 1, v.shape[-1])
