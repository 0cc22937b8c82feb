"""Pieces with a closed form: equal blocks, run as one batched call, and where their entries stand in the point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.parametric.constants import Constant
from optlayers.parametric.functions import join
from optlayers.parametric.maps import Map, Values
from optlayers.parametric.range import Range
from optlayers.parametric.symbolic import Data, stack
from optlayers.projection.ties import Tied, tie_sources, untie
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.one_sided import without_one_sided
from optlayers.sets import REGISTRY, Check, ClosedFormSet


@dataclass(frozen=True, eq=False)
class ClosedFormPiece:
    """Blocks of one closed-form set and one size; its fields carry one leading dimension, the blocks."""

    kind: type[ClosedFormSet]
    blocks: tuple[Block, ...]
    matched: tuple[Block, ...]  # the blocks as they were matched, tied entries put together
    ties: Constant | None  # the isometry from `matched` to `blocks`
    fields: Mapping[str, Map | Range[Map] | None]  # for each field of the set its map from parameter values
    is_parametric: bool
    _bound: dict[tuple[torch.dtype, torch.device], ClosedFormSet | Tied] = field(default_factory=dict, init=False)

    @property
    def size(self) -> int:
        """The number of entries of each block."""
        return self.blocks[0].size

    @property
    def labels(self) -> list[str]:
        """What each block is called."""
        tied = "" if self.ties is None else ", entries tied"
        return [self.kind.label(block) + tied for block in self.matched]

    def bind(self, values: Values) -> ClosedFormSet | Tied:
        """Return the set for these parameter values."""
        key = values.dtype, values.device
        if self.is_parametric or is_traced():
            return self._bind(values)
        if key not in self._bound:
            self._bound[key] = self._bind(values)
        return self._bound[key]

    def _bind(self, values: Values) -> ClosedFormSet | Tied:
        bound = self.kind(**{name: _at(values, field) for name, field in self.fields.items()})
        return bound if self.ties is None else Tied(bound, self.ties.on(values.device, values.dtype))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_bound": {}}

    def checks(self, values: Values) -> list[Check]:
        """Return the checks of the set, their amounts ``(*batch, blocks, k)``."""
        return self.bind(values).checks()

    def sources_of(self, check: Check, block: int) -> list[set[int]]:
        """Return the user's constraints that make each condition of a check fail for a block."""
        tied = set() if self.ties is None else tie_sources(self.blocks[block])
        return [sources | tied for sources in check.sources(self.matched[block])]


@dataclass(frozen=True, eq=False)
class Match:
    """A block, the closed-form set that it is, and the set's data."""

    block: Block
    matched: Block
    ties: np.ndarray | None
    kind: type[ClosedFormSet]
    fields: Fields

    @property
    def key(self) -> object:
        """Equal for blocks that can be run as one batch."""
        shape = tuple((name, None if data is None else data.signature) for name, data in self.fields.items())
        return self.kind, self.block.size, None if self.ties is None else self.ties.tobytes(), shape


def match(block: Block) -> Match | None:
    """Return the registered set that the block is, as it stands, with tied entries put together, or without kinks."""
    for matched, ties in filter(
        None, (attempt(block) for attempt in (lambda block: (block, None), untie, without_one_sided))
    ):
        for kind in REGISTRY:
            fields = kind.match(matched)
            if fields is not None:
                return Match(block, matched, ties, kind, fields)
    return None


def make_pieces(blocks: Sequence[Block], starts: Sequence[int]) -> tuple[list[ClosedFormPiece], list[Block]]:
    """Group recognised blocks that are alike; return the pieces and the blocks that no closed form takes."""
    groups: dict[object, list[Match]] = {}
    general = []
    for block in blocks:
        matched = match(block)
        if matched is None:
            general.append(block)
        else:
            groups.setdefault(matched.key, []).append(matched)
    return [_make_piece(members, starts) for members in groups.values()], general


def _make_piece(members: Sequence[Match], starts: Sequence[int]) -> ClosedFormPiece:
    first = members[0]
    return ClosedFormPiece(
        first.kind,
        tuple(member.block for member in members),
        tuple(member.matched for member in members),
        None if first.ties is None else Constant(first.ties),
        {name: _compile([member.fields[name] for member in members], starts) for name in first.fields},
        not all(data.is_constant for member in members for data in _all_data(member.fields)),
    )


def _compile(column: Sequence[Any], starts: Sequence[int]) -> Map | Range[Map] | None:
    """Return the map of one field of several blocks."""
    first = column[0]
    if isinstance(first, Range):
        if first.is_fixed:
            return Range.fixed(stack([data.value for data in column]).compile(starts))
        lower, upper = (_compile([getattr(data, side) for data in column], starts) for side in ("lower", "upper"))
        return Range(lower, upper)  # pyright: ignore[reportReturnType]
    return None if first is None else stack(column).compile(starts)


def _at(values: Values, field: Map | Range[Map] | None) -> Tensor | Range[Tensor] | None:
    if isinstance(field, Range):
        return field.map(lambda bound: bound(values))
    return None if field is None else field(values)


def _all_data(fields: Fields) -> list[Data]:
    parts = (data.bounds if isinstance(data, Range) else (data,) for data in fields.values() if data is not None)
    return [data for part in parts for data in part]


class Layout:
    """Takes a point apart into the pieces' entries, and puts results together again."""

    def __init__(self, columns: Sequence[np.ndarray]) -> None:
        """Lay out the entries of groups of blocks, ``(blocks, size)`` each; together they are a permutation."""
        self.shapes = [index.shape for index in columns]
        self.sizes = [index.size for index in columns]
        order = np.concatenate([np.zeros(0, dtype=np.int64), *(index.ravel() for index in columns)])
        ascending = np.arange(len(order))
        self.is_identity = bool(np.array_equal(order, ascending))
        self.is_transposed = False
        if len(columns) == 1 and not self.is_identity:
            self.is_transposed = bool(np.array_equal(columns[0].T, ascending.reshape(columns[0].T.shape)))
        self.order, self.inverse = Constant(order), Constant(np.argsort(order))

    def split(self, v: Tensor) -> list[Tensor]:
        """Return one tensor ``(*batch, blocks, size)`` per group."""
        if self.is_transposed:
            blocks, size = self.shapes[0]
            return [v.reshape(*v.shape[:-1], size, blocks).mT]
        if not self.is_identity:
            v = v.index_select(-1, self.order.on(v.device))
        parts = v.split(self.sizes, -1) if len(self.sizes) > 1 else (v,)
        return [part.reshape(*v.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the point ``(*batch, n)``; batch dimensions broadcast."""
        if self.is_transposed:
            return parts[0].mT.reshape(*parts[0].shape[:-2], self.sizes[0])
        flat = [part.reshape(*part.shape[:-2], size) for part, size in zip(parts, self.sizes, strict=True)]
        whole = flat[0] if len(flat) == 1 else join(*flat)
        return whole if self.is_identity else whole.index_select(-1, self.inverse.on(whole.device))
