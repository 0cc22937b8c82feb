"""Custom operators on batches: their loops may look at values inside `torch.compile`, `torch.export` and `vmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, library


def define(name: str, events: dict[str, int], function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Define ``optlayers::name``, a function without derivatives, and return it.

    Parameters
    ----------
    name : str
    events : dict
        For each argument, how many of its last dimensions are no batch dimensions; an argument whose name ends in a
        question mark may be None. Batch dimensions broadcast.
    function : callable
        From the tensors to one number for each sample, ``(*batch,)``; the first argument is a tensor.
    """
    sizes = tuple(events.values())
    arguments = ", ".join(f"Tensor? {key[:-1]}" if key.endswith("?") else f"Tensor {key}" for key in events)
    qualified = f"optlayers::{name}"
    library.define(qualified, f"({arguments}) -> Tensor")
    library.impl(qualified, "default", function)

    def fake(*tensors: Tensor | None) -> Tensor:
        assert tensors[0] is not None
        shapes = [t.shape[: t.ndim - event] for t, event in zip(tensors, sizes, strict=True) if t is not None]
        return tensors[0].new_empty(torch.broadcast_shapes(*shapes))

    def mapped(info: Any, dims: tuple[int | None, ...], *tensors: Tensor | None) -> tuple[Tensor, int]:
        return operator(*front(dims, tensors, sizes)), 0

    library.register_fake(qualified, fake)
    library.register_vmap(qualified, mapped)
    operator = getattr(torch.ops.optlayers, name)
    return operator


def front(dims: Sequence[int | None], tensors: Sequence[Tensor | None], events: Sequence[int]) -> list[Tensor | None]:
    """Move the mapped dimensions of an operator's arguments to the front, where they broadcast as batch dimensions.

    `events` are the numbers of last dimensions that are no batch dimensions.
    """
    given = [(t, e, d) for t, e, d in zip(tensors, events, dims, strict=True) if t is not None]
    rank = max(tensor.ndim - event - (dim is not None) for tensor, event, dim in given)
    moved: list[Tensor | None] = []
    for tensor, event, dim in zip(tensors, events, dims, strict=True):
        if tensor is not None and dim is not None:
            tensor = tensor.movedim(dim, 0)
            missing = rank - (tensor.ndim - event - 1)
            tensor = tensor.reshape(tensor.shape[0], *[1] * missing, *tensor.shape[1:])
        moved.append(tensor)
    return moved
