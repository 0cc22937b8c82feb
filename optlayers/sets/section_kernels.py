"""Sections of boxes by fused kernels, where these serve."""

from __future__ import annotations

import functools
from types import ModuleType

import torch
from torch import Tensor

from optlayers.kernels.dispatch import as_data, as_rows, batch_of, find, is_batched
from optlayers.kernels.follow import follow
from optlayers.sets.section_search import free_mask

Section = tuple[Tensor | None, Tensor | None, Tensor | None]  # normal, lower, upper


def project_fused(v: Tensor, section: Section, total_lower: Tensor | None, total_upper: Tensor | None) -> Tensor | None:
    """Return the projection with its derivatives; None where the plain form has to serve; see `BoxSection`."""
    kernels = find("box_section", v, *section, total_lower, total_upper)
    if kernels is None:
        return None
    batch = batch_of(v, *section, numbers=(total_lower, total_upper))
    points = as_rows(v, batch)
    normal, lower, upper = (None if t is None else as_data(t, batch) for t in section)
    low, high = (None if t is None else as_data(t, batch, 0) for t in (total_lower, total_upper))
    y, tight = kernels.project(points.detach(), normal, lower, upper, low, high)
    if points.requires_grad and torch.is_grad_enabled():
        y = follow(y, points, functools.partial(_pull, kernels, section, (normal, lower, upper), batch), y, tight)
    return y.view(*batch, v.shape[-1])


def _pull(
    kernels: ModuleType,
    section: Section,
    data: Section,
    batch: torch.Size,
    gradient: Tensor,
    y: Tensor,
    tight: Tensor,
) -> Tensor:
    if torch.is_grad_enabled() or is_batched(gradient):  # for second derivatives, and batches of gradients
        shape = (*batch, y.shape[-1])
        return pull(gradient.reshape(shape), y.view(shape), tight.view(batch), *section).reshape(y.shape)
    return kernels.pull(gradient, y, tight, *data)


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the derivative of the projection, which is symmetric, times the gradient.

    Parameters
    ----------
    gradient, y : Tensor, shape (*batch, n)
        `y` is the projection; it counts as constant.
    tight : Tensor of bool, shape (*batch,)
        Whether the total is at its bound.
    normal, lower, upper : Tensor, shape (*batch, n), or None
    """
    free = free_mask(y.detach(), lower, upper)
    direction = free if normal is None else free * normal
    square = direction.square().sum(-1, keepdim=True)
    product = (direction * gradient).sum(-1, keepdim=True)
    step = torch.where(tight.unsqueeze(-1) & (square > 0), product / torch.where(square > 0, square, 1.0), 0.0)
    return free * gradient - step * direction
