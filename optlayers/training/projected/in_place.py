"""Projection of a large tensor in place, some rows at a time."""

import math

import torch
from torch import Tensor

from optlayers.bound_set import surely_finite
from optlayers.feasible_set import FeasibleSet
from optlayers.sets import ClosedFormSet

_CHUNK = 1 << 21  # entries: what is read, projected and written back stays in the processor's cache


@torch.no_grad()
def project_in_place(feasible_set: FeasibleSet, tensor: Tensor) -> None:
    """Replace each row of a tensor ``(*batch, *variable.shape)`` by its nearest point of a set on one variable.

    The same as ``tensor.copy_(feasible_set.project(tensor))``, errors included, but that some rows may have been
    replaced when one is raised; closed forms need no memory beside the tensor's.
    """
    event = tuple(feasible_set.variables[0].shape)
    bound = None
    if tensor.is_contiguous() and tensor.numel():
        bound = feasible_set.prepare(tensor.view(-1, *event)[:1])[1]
    if bound is None or not (bound.is_closed_form and bound.is_shared and bound.is_sound()):
        tensor.copy_(feasible_set.project(tensor))
        return
    rows, sets, dtype = tensor.view(-1, math.prod(event)), bound.sets, bound.values.dtype
    in_place = sets[0] if len(sets) == 1 and bound.compiled.layout.is_identity and rows.dtype == dtype else None
    if isinstance(in_place, ClosedFormSet) and in_place.project_(rows.unsqueeze(-2)):
        return
    for chunk in rows.split(max(1, _CHUNK // rows.shape[1]) if tensor.device.type == "cpu" else len(rows)):
        if feasible_set.validate and not surely_finite(chunk):
            chunk.copy_(feasible_set.project(chunk.view(-1, *event)).view_as(chunk))
            continue
        projected = bound.map_pieces(lambda piece, part: piece.project(part), chunk.to(dtype))
        assert projected is not None
        chunk.copy_(projected)
