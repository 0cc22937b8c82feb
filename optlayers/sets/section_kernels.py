"""Sections of boxes by fused kernels, where these serve."""

from __future__ import annotations

import functools
from types import ModuleType

import torch
from torch import Tensor

from optlayers.kernels.dispatch import as_data, as_rows, batch_of, find
from optlayers.kernels.follow import follow
from optlayers.parametric.constants import is_traced
from optlayers.sets.section_search import free_mask

Section = tuple[Tensor | None, Tensor | None, Tensor | None]  # normal, lower, upper


def project_fused(
    v: Tensor, section: Section, total_lower: Tensor | None, total_upper: Tensor | None
) -> Tensor | None:
    """Return the projection with its derivatives; None where the plain form has to serve; see `BoxSection`."""
    kernels = find("box_section", v, *section, total_lower, total_upper)
    if kernels is None:
        return None
    batch = batch_of(v, *section, numbers=(total_lower, total_upper))
    v = v.expand(*batch, v.shape[-1])
    data = tuple(as_data(t, batch) for t in section)
    low = as_data(total_lower, batch, 0)
    high = low if total_upper is total_lower else as_data(total_upper, batch, 0)
    y, tight = kernels.project(as_rows(v.detach(), batch), *data, low, high)
    y = y.view(v.shape)
    if not (v.requires_grad and torch.is_grad_enabled()):
        return y
    return follow(y, v, functools.partial(_pull, kernels, section, data), y, tight)


def _pull(kernels: ModuleType, section: Section, data: Section, gradient: Tensor, y: Tensor, tight: Tensor) -> Tensor:
    if torch.is_grad_enabled() or is_traced():  # for second derivatives, and batches of gradients
        return pull(gradient, y, tight.view(y.shape[:-1]), *section)
    batch = y.shape[:-1]
    return kernels.pull(as_rows(gradient, batch), as_rows(y, batch), tight, *data).view(y.shape)


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
