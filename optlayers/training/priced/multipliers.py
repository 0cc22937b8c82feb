"""Multipliers of one constraint: buffers, so that optimizers of `module.parameters()` never minimise over them."""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.training.priced.controllers import PI
from optlayers.training.priced.lazy_buffers import LazyBuffers
from optlayers.training.priced.relations import Relation


class Multiplier(LazyBuffers):
    """The multiplier of ``c in K``, of the shape of c; with ``items=n`` a table of n rows.

    Attributes
    ----------
    value : Tensor
        Normals of K: nonnegative for inequalities, of any sign for equalities; zero at first.
    anchor : Tensor
        Points of K at which `value` is normal, so that ``<value, anchor>`` is K's support function.
    smoothed : Tensor
        What the controller remembers; empty without a proportional part.
    seen : Tensor
        Which items of a table have been updated.
    """

    value: Tensor
    anchor: Tensor
    smoothed: Tensor
    seen: Tensor

    def __init__(self, relation: Relation) -> None:
        super().__init__("value", "anchor", "smoothed", "seen")
        self._items = relation.items
        self._kind = relation.kind

    def prepare(self, values: Tensor, index: Tensor | None) -> None:
        """Check values against what has been seen, and make the table for the first ones.

        Raises
        ------
        ValueError
            If the shape is another one than before, or the index does not say which samples these are.
        """
        shape = values.shape
        if self._items is not None:
            if index is None:
                raise ValueError(f"{self._kind} with items={self._items}: pass index=, the numbers of the samples")
            if index.dtype not in (torch.int64, torch.int32) or values.ndim == 0 or index.shape != shape[:1]:
                raise ValueError(
                    f"{self._kind} with items={self._items}: expected an index of integers, one per row of the values "
                    f"{tuple(shape)}, got {index.dtype} {tuple(index.shape)}"
                )
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self._items:
                raise ValueError(
                    f"{self._kind} with items={self._items}: expected an index from 0 to {self._items - 1}, got "
                    f"{int(index.min())} to {int(index.max())}: number the samples of the data set, or raise items"
                )
            shape = torch.Size((self._items, *shape[1:]))
        self.materialise(values, value=shape, anchor=shape, seen=shape[:1] if self._items is not None else ())
        if self.value.shape != shape:
            raise ValueError(
                f"{self._kind}: values of the shape {tuple(values.shape)} after multipliers of "
                f"{tuple(self.value.shape)}: each value has a multiplier of its own; return the mini-batch's mean for "
                "a constraint on it, or use items= for constraints on samples"
            )

    def rows(self, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the multipliers of these samples, or all, and their anchors."""
        if self._items is None:
            return self.value, self.anchor
        assert index is not None
        index = index.to(self.value.device)
        return self.value[index], self.anchor[index]

    @torch.no_grad()
    def update(
        self,
        values: Tensor,
        index: Tensor | None,
        relation: Relation,
        controller: PI,
        step: int,
        share: float = 1.0,
    ) -> None:
        """Take the controller's step, then the proximal step that keeps multipliers normals of K.

        Only a share of the way is gone where that is less than 1.

        With z the multipliers after the controller's increment and a its integral gain, they become
        ``z - a P_K(z / a)``: for inequalities ``max(0, z - a level)``, for equalities ``z - a level``, for sets
        Chambolle and Pock's dual step (A first-order primal-dual algorithm, 2011).
        """
        self.prepare(values, index)
        if index is not None and self._items is not None:
            index, values = _merged(index.to(values.device), values)
        integral, proportional = controller.gains(step)
        if integral == 0:
            return
        before, _ = self.rows(index)
        moved = before + integral * values
        if controller.remembers:
            self.materialise(values, smoothed=self.value.shape)
            last = self.smoothed if index is None or self._items is None else self.smoothed[index]
            seen = self.seen if index is None or self._items is None else self.seen[index]
            last = torch.where(seen.reshape((*seen.shape, *[1] * (values.ndim - seen.ndim))) > 0, last, values)
            now = controller.smoothed(last, values)
            moved = moved + proportional * (now - last)
            self._store("smoothed", now, index)
        nearest = relation.project(moved / integral, step)
        self._store("value", before.lerp(relation.clip(moved - integral * nearest), share), index)
        self._store("anchor", nearest, index)
        self._store("seen", torch.ones_like(self.seen if self._items is None else self.seen[index]), index)

    def _store(self, name: str, rows: Tensor, index: Tensor | None) -> None:
        if self._items is None:
            setattr(self, name, rows.clone())
        else:
            self.get_buffer(name)[index] = rows

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the multipliers."""
        self.value = self.value * factor


def _merged(index: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample once, with the mean of its values."""
    unique, position, count = torch.unique(index, return_inverse=True, return_counts=True)
    if len(unique) == len(index):
        return index, values
    total = values.new_zeros((len(unique), *values.shape[1:])).index_add(0, position, values)
    return unique, total / count.to(values).reshape((-1, *[1] * (values.ndim - 1)))
