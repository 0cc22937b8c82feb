"""Custom operators on batches: their loops may look at values inside `torch.compile`, `torch.export` and `vmap`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, library

Result = tuple[tuple[int, ...], torch.dtype | None]  # the sizes of a result's last dimensions, and its dtype


def define(
    name: str,
    events: dict[str, int],
    function: Callable[..., Any],
    results: Callable[..., Sequence[Result]] = lambda *_: [((), None)],
    options: str = "",
    count: int = 0,
) -> Callable[..., Any]:
    """Define ``optlayers::name``, a function without derivatives, and return it.

    Parameters
    ----------
    name : str
    events : dict
        For each argument, how many of its last dimensions are no batch dimensions; an argument whose name ends in a
        question mark may be None. Batch dimensions broadcast.
    function : callable
        From the tensors, of which no batch is empty, to a tensor or a tuple of tensors, ``(*batch, *event)``; the first
        argument is a tensor.
    results : callable
        From the sizes of the first argument's last dimensions to the results' shapes without the batch, and dtypes
        (None: that of the first argument). By default, one number for each sample.
    options : str
        What follows the tensors in the operator's schema; `function` and `results` get it last.
    count : int
        The number of results, where `options` decide on their shapes.
    """
    widths = tuple(events.values())
    arguments = ", ".join(f"Tensor? {key[:-1]}" if key.endswith("?") else f"Tensor {key}" for key in events)
    qualified, many = f"optlayers::{name}", len(events)

    def fake(first: Tensor, *others: Any) -> Any:
        batch = batch_shape((first, *others[: many - 1]), widths)
        told = results(*first.shape[first.ndim - widths[0] :], *others[many - 1 :])
        empty = [first.new_empty((*batch, *event), dtype=dtype or first.dtype) for event, dtype in told]
        return empty[0] if count == 1 else tuple(empty)

    def checked(*given: Any) -> Any:
        return function(*given) if batch_shape(given[:many], widths).numel() else fake(*given)

    def mapped(info: Any, dims: tuple[int | None, ...], *given: Any) -> Any:
        tensors = front(dims[:many], given[:many], widths)
        return operator(*tensors, *given[many:]), 0 if count == 1 else (0,) * count

    count = count or len(results(*[2] * widths[0]))
    returned = "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
    library.define(qualified, f"({arguments}{options and f', {options}'}) -> {returned}")
    library.impl(qualified, "default", checked)
    library.register_fake(qualified, fake)
    library.register_vmap(qualified, mapped)
    operator = getattr(torch.ops.optlayers, name)
    return operator


def batch_shape(tensors: Sequence[Tensor | None], events: Sequence[int]) -> torch.Size:
    """Return the shape that the batch dimensions of tensors broadcast to."""
    shapes = [t.shape[: t.ndim - event] for t, event in zip(tensors, events, strict=True) if t is not None]
    longest = max(shapes, key=len)
    if all(k == 1 or k == m for shape in shapes for k, m in zip(reversed(shape), reversed(longest), strict=False)):
        return longest  # as a rule; torch takes longer than some kernels do for a few samples
    return torch.broadcast_shapes(*shapes)


def as_samples(tensor: Tensor, batch: torch.Size, event: int) -> Tensor:
    """Return ``(samples, *event)``, with one sample where the tensor has no batch of its own."""
    last = tensor.shape[tensor.ndim - event :]
    is_shared = tensor.shape[: tensor.ndim - event].numel() == 1
    return tensor.reshape(1, *last) if is_shared else tensor.expand(*batch, *last).reshape(-1, *last)


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
