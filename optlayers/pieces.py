"""Pieces of a set: equal blocks, run as one batched call, and where their entries stand in the point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optlayers.binding import Map, Values
from optlayers.block import Block
from optlayers.constants import Constant
from optlayers.parametric import Data, stack
from optlayers.sets import REGISTRY, ClosedFormSet


@dataclass(frozen=True, eq=False)
class Piece:
    """Blocks of one closed-form set and one size; its fields carry one leading dimension, the blocks.

    Attributes
    ----------
    kind : type
        The closed-form set.
    blocks : tuple of Block
    fields : dict
        For each field of the set its map from parameter values, or None.
    is_parametric : bool
    """

    kind: type[ClosedFormSet]
    blocks: tuple[Block, ...]
    fields: Mapping[str, Map | None]
    is_parametric: bool

    @property
    def size(self) -> int:
        """The number of entries of each block."""
        return self.blocks[0].size

    def bind(self, values: Values) -> ClosedFormSet:
        """Return the set for these parameter values; fields that are one map become one tensor."""
        tensors = {id(field): field(values) for field in self.fields.values() if field is not None}
        return self.kind(**{name: None if f is None else tensors[id(f)] for name, f in self.fields.items()})

    def infeasibility(self, values: Values) -> Tensor | None:
        """Return the infeasibility of each block, ``(*batch, blocks, checks)``, or None."""
        return self.bind(values).infeasibility()

    def blame(self, block: int, check: int) -> set[int]:
        """Return the user's constraints that make a check of a block fail."""
        return self.kind.blame(self.blocks[block], check)


def match(block: Block) -> tuple[type[ClosedFormSet], Mapping[str, Data | None]] | None:
    """Return the registered set that the block is, with its fields, or None."""
    for kind in REGISTRY:
        fields = kind.match(block)
        if fields is not None:
            return kind, fields
    return None


def make_pieces(blocks: Sequence[Block], starts: Sequence[int]) -> tuple[list[Piece], list[Block]]:
    """Group recognised blocks that are alike; return the pieces and the blocks that no closed form takes."""
    groups: dict[object, list[tuple[Block, Mapping[str, Data | None]]]] = {}
    kinds: dict[object, type[ClosedFormSet]] = {}
    general = []
    for block in blocks:
        found = match(block)
        if found is None:
            general.append(block)
            continue
        kind, fields = found
        names = {id(data): name for name, data in reversed(list(fields.items()))}
        shape = tuple((name, data and (data.signature, names[id(data)])) for name, data in fields.items())
        key = (kind, block.size, shape)
        kinds[key] = kind
        groups.setdefault(key, []).append((block, fields))
    pieces = []
    for key, members in groups.items():
        stacked: dict[tuple[int, ...], Map] = {}
        fields: dict[str, Map | None] = {}
        for name, first in members[0][1].items():
            column = [data for _, data in ((b, f[name]) for b, f in members) if data is not None]
            identity = tuple(id(data) for data in column)
            if first is not None and identity not in stacked:
                stacked[identity] = stack(column).compile(starts)
            fields[name] = None if first is None else stacked[identity]
        parametric = any(data is not None and not data.is_constant for _, f in members for data in f.values())
        pieces.append(Piece(kinds[key], tuple(block for block, _ in members), fields, parametric))
    return pieces, general


class Layout:
    """Takes a point apart into the pieces' entries, and puts results together again."""

    def __init__(self, columns: Sequence[np.ndarray]) -> None:
        """Lay out groups of entries, each an index array ``(blocks, size)``; together they are a permutation."""
        self.shapes = [index.shape for index in columns]
        self.sizes = [index.size for index in columns]
        order = np.concatenate([np.zeros(0, dtype=np.int64), *(index.ravel() for index in columns)])
        self.is_identity = bool(np.array_equal(order, np.arange(len(order))))
        self.is_transposed = len(columns) == 1 and np.array_equal(order, _transposition(*columns[0].shape))
        self.order, self.inverse = Constant(order), Constant(np.argsort(order))

    def split(self, v: Tensor) -> list[Tensor]:
        """Return one tensor ``(*batch, blocks, size)`` per group."""
        if self.is_transposed and not self.is_identity:
            blocks, size = self.shapes[0]
            return [v.reshape(*v.shape[:-1], size, blocks).mT]
        if not self.is_identity:
            v = v.index_select(-1, self.order.on(v.device))
        parts = v.split(self.sizes, -1) if len(self.sizes) > 1 else (v,)
        return [part.reshape(*v.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the point ``(*batch, n)``; batch dimensions broadcast."""
        if self.is_transposed and not self.is_identity:
            return parts[0].mT.reshape(*parts[0].shape[:-2], self.sizes[0])
        flat = [part.reshape(*part.shape[:-2], size) for part, size in zip(parts, self.sizes, strict=True)]
        if len(flat) > 1:
            batch = torch.broadcast_shapes(*(part.shape[:-1] for part in flat))
            flat = [torch.cat([part.expand(*batch, part.shape[-1]) for part in flat], -1)]
        return flat[0] if self.is_identity else flat[0].index_select(-1, self.inverse.on(flat[0].device))


def _transposition(blocks: int, size: int) -> np.ndarray:
    return np.arange(blocks * size).reshape(size, blocks).T.ravel()
