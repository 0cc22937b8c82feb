"""Projection of a large tensor in place, some rows at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.projection.attempt import surely_finite
from optlayers.sets import ClosedFormSet

_CHUNK = 1 << 21  # entries: what is read, projected and written back stays in the processor's cache


@torch.no_grad()
def project_in_place(feasible_set: FeasibleSet, tensor: Tensor) -> None:
    """Replace each row of a tensor by its nearest point of the set.

    The same as ``tensor.copy_(feasible_set.project(tensor))``, errors included, but that some rows may have been
    replaced when one is raised; closed forms need no memory beside the tensor's.

    Parameters
    ----------
    feasible_set : FeasibleSet
        On one variable.
    tensor : Tensor, shape (*batch, *variable.shape)
    """
    event = tuple(feasible_set.variables[0].shape)
    if not _can_be_chunked(feasible_set, tensor):
        tensor.copy_(feasible_set.project(tensor))
        return
    compiled = feasible_set._compiled
    rows = tensor.view(-1, math.prod(event))
    _, _, values, problems = feasible_set._prepare((tensor.reshape(-1, *event)[:1],))
    sets = compiled.bind_nonempty(values)
    if problems or sets is None:
        tensor.copy_(feasible_set.project(tensor))
        return
    in_place = sets[0] if len(sets) == 1 and compiled.layout.is_identity and rows.dtype == values.dtype else None
    if isinstance(in_place, ClosedFormSet) and in_place.project_(rows.unsqueeze(-2)):
        return
    for chunk in rows.split(max(1, _CHUNK // rows.shape[1]) if tensor.device.type == "cpu" else len(rows)):
        if feasible_set.validate and not surely_finite(chunk):
            chunk.copy_(feasible_set.project(chunk.view(-1, *event)).view_as(chunk))
            continue
        parts = compiled.layout.split(chunk.to(values.dtype))
        projected = [bound.project(part) for bound, part in zip(sets, parts, strict=True)]
        chunk.copy_(compiled.layout.join(projected))


def _can_be_chunked(feasible_set: FeasibleSet, tensor: Tensor) -> bool:
    """Whether rows are independent of each other, and lie one after the other in memory."""
    shapes = [p.shape for p in feasible_set.parameters]
    given = feasible_set._given
    shared = all(k in given and given[k].value.ndim == len(shape) for k, shape in enumerate(shapes))
    return shared and not feasible_set._compiled.general and tensor.is_contiguous() and tensor.numel() > 0
