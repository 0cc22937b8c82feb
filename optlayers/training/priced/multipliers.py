"""Multipliers of one constraint: buffers, so that optimizers of `module.parameters()` never minimise over them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optlayers.training.priced.controllers import PI
from optlayers.training.priced.relations import Relation


class Multiplier(nn.Module):
    """The multiplier of ``c in K``, of the shape of c; with ``items=n`` a table of n rows.

    Buffers are empty until values arrive, whose shape, dtype and device they take over; loading a state does so, too.

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
    mean, total : Tensor
        The average over mini-batches of constraints on expectations, and the sum of its weights.
    """

    value: Tensor
    anchor: Tensor
    smoothed: Tensor
    seen: Tensor
    mean: Tensor
    total: Tensor

    def __init__(self, relation: Relation) -> None:
        super().__init__()
        self.relation = relation
        for name in ("value", "anchor", "smoothed", "seen", "mean", "total"):
            self.register_buffer(name, torch.empty(0))

    def rows(self, values: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the multipliers and anchors of values, and make the table for the first ones.

        Raises ValueError if the shape is another one than before, or the index does not say which samples these are.
        """
        shape, items, kind = values.shape, self.relation.items, self.relation.kind
        if items is not None:
            self._check_index(values, index, items)
            shape = torch.Size((items, *shape[1:]))
        self._materialise(values, value=shape, anchor=shape, seen=() if items is None else shape[:1])
        if self.value.shape != shape:
            raise ValueError(
                f"{kind}: values of the shape {tuple(values.shape)} after multipliers of {tuple(self.value.shape)}: "
                "each value has its multiplier; return the mini-batch's mean for a constraint on it, or use items= "
                "for constraints on samples"
            )
        if items is None or index is None:
            return self.value, self.anchor
        index = index.to(self.value.device)
        return self.value[index], self.anchor[index]

    def average(self, values: Tensor, *, keep: bool = False) -> Tensor:
        """Return the moving average with these values, without derivatives; `keep` says whether they are taken in.

        The weighted sum is divided by the sum of the weights, so that the first value is the first average, not a
        fraction of it (the correction of Kingma and Ba, Adam, 2015).
        """
        weight = self.relation.average
        if weight is None:
            return values
        self._materialise(values, mean=values.shape, total=())
        if self.mean.shape != values.shape:
            raise ValueError(
                f"an average over mini-batches needs values of one shape, got {tuple(values.shape)} after "
                f"{tuple(self.mean.shape)}: return the mini-batch's mean, or use items= for constraints on samples"
            )
        mean = weight * self.mean + (1 - weight) * values.detach()
        total = weight * self.total + (1 - weight)
        if keep:
            self.mean, self.total = mean, total
        return mean / total

    @torch.no_grad()
    def update(self, values: Tensor, index: Tensor | None, controller: PI, step: int, share: float = 1.0) -> None:
        """Take the controller's step, then the proximal step that keeps multipliers normals of K.

        Only a share of the way is gone where that is less than 1.

        With z the multipliers after the controller's increment and a its integral gain, they become
        ``z - a P_K(z / a)``: for inequalities ``max(0, z - a level)``, for equalities ``z - a level``, for sets
        Chambolle and Pock's dual step (A first-order primal-dual algorithm, 2011).
        """
        values = self.average(values, keep=True)
        self.rows(values, index)
        if self.relation.items is None or index is None:
            index = None
        else:
            index, values = _merged(index.to(values.device), values)
        integral, proportional = controller.gains(step)
        if integral == 0:
            return
        before = self._select(self.value, index)
        moved = before + integral * values
        if callable(controller.proportional) or controller.proportional > 0:
            self._materialise(values, smoothed=self.value.shape)
            last, seen = self._select(self.smoothed, index), self._select(self.seen, index)
            last = torch.where(seen.reshape((*seen.shape, *[1] * (values.ndim - seen.ndim))) > 0, last, values)
            now = last + (1 - controller.smoothing) * (values - last)
            moved = moved + proportional * (now - last)
            self._store("smoothed", now, index)
        nearest = self.relation.project(moved / integral, step)
        self._store("value", before.lerp(self.relation.clip(moved - integral * nearest), share), index)
        self._store("anchor", nearest, index)
        self._store("seen", torch.ones_like(self._select(self.seen, index)), index)

    def _check_index(self, values: Tensor, index: Tensor | None, items: int) -> None:
        expected = f"{self.relation.kind} with items={items}: "
        if index is None:
            raise ValueError(f"{expected}pass index=, the numbers of the samples")
        if index.dtype not in (torch.int64, torch.int32) or values.ndim == 0 or index.shape != values.shape[:1]:
            raise ValueError(
                f"{expected}expected an index of integers, one per row of the values {tuple(values.shape)}, got "
                f"{index.dtype} {tuple(index.shape)}"
            )
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < items:
            raise ValueError(
                f"{expected}expected an index from 0 to {items - 1}, got {int(index.min())} to {int(index.max())}: "
                "number the samples of the data set, or raise items"
            )

    def _materialise(self, like: Tensor, **shapes: Sequence[int]) -> None:
        """Make buffers of the dtype and device of a tensor, zero where they are new."""
        for name, shape in shapes.items():
            buffer = self.get_buffer(name)
            if buffer.shape == (0,):
                setattr(self, name, like.new_zeros(tuple(shape)))
            elif buffer.dtype != like.dtype or buffer.device != like.device:
                setattr(self, name, buffer.to(like))

    @staticmethod
    def _select(table: Tensor, index: Tensor | None) -> Tensor:
        return table if index is None else table[index]

    def _store(self, name: str, rows: Tensor, index: Tensor | None) -> None:
        if index is None:
            setattr(self, name, rows.clone())
        else:
            self.get_buffer(name)[index] = rows

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(prefix + name)
            if stored is not None and stored.shape != buffer.shape:
                setattr(self, name, torch.zeros_like(stored, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _merged(index: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample once, with the mean of its values."""
    unique, position, count = torch.unique(index, return_inverse=True, return_counts=True)
    if len(unique) == len(index):
        return index, values
    total = values.new_zeros((len(unique), *values.shape[1:])).index_add(0, position, values)
    return unique, total / count.to(values).reshape((-1, *[1] * (values.ndim - 1)))
