"""L2 balls."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.dispatch import as_data, as_rows, batch_of, find, is_batched
from optlayers.kernels.follow import follow
from optlayers.parametric.symbolic import Data
from optlayers.recognition.block import Block
from optlayers.sets.base import ClosedFormSet, register
from optlayers.sets.quadratic import match_norm, safe_norm


@register
@dataclass(frozen=True, eq=False)
class L2Ball(ClosedFormSet):
    """``{y : ||y - center||_2 <= radius}``, the Euclidean (for matrices the Frobenius) ball.

    Attributes
    ----------
    center : Tensor, shape (*batch, n)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    name = "L2 ball"
    kernels = "l2_ball"
    center: Tensor
    radius: Tensor

    @staticmethod
    def constraints(x: cp.Variable, center: Any, radius: Any) -> list[cp.Constraint]:
        return [cp.norm(cp.vec(x - center, order="C"), 2) <= radius]

    @classmethod
    def match(cls, block: Block) -> Mapping[str, Data | None] | None:
        norm = match_norm(block)
        if norm is None or not norm.is_isotropic:
            return None
        return {"center": norm.center, "radius": norm.radius}

    def project(self, v: Tensor) -> Tensor:
        """Scale the offset from the centre; on the sphere the derivative is that of an outside point."""
        kernels = find(self.kernels, v, self.center, self.radius)
        if kernels is not None and not bool(self.center.any()):
            return self._project_fused(kernels, v)
        offset = v - self.center
        radius = self.radius.clamp_min(0.0)
        distance = safe_norm(offset)
        outside = distance >= radius
        factor = torch.where(outside, radius / torch.where(outside & (distance > 0), distance, 1.0), 1.0)
        return torch.where(outside.unsqueeze(-1), self.center + offset * factor.unsqueeze(-1), v)

    def _project_fused(self, kernels: ModuleType, v: Tensor) -> Tensor:
        batch = batch_of(v, numbers=(self.radius,))
        points, radius = as_rows(v, batch), as_data(self.radius, batch, 0)
        y, norm = kernels.project(points.detach(), radius)
        if points.requires_grad and torch.is_grad_enabled():
            y = follow(y, points, functools.partial(_pull, kernels, radius), points, norm)
        return y.view(*batch, v.shape[-1])

    def infeasibility(self) -> Tensor | None:
        return -self.radius.unsqueeze(-1)

    @staticmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        yield {"size": (4,), "center": np.zeros(4), "radius": np.array(1.5)}
        yield {"size": (2, 3), "center": np.arange(6.0).reshape(2, 3), "radius": np.array(0.7)}
        yield {"size": (3,), "center": np.array([1.0, -2.0, 0.0]), "radius": np.array(1e-3)}


def _pull(kernels: ModuleType, radius: Tensor, gradient: Tensor, v: Tensor, norm: Tensor) -> Tensor:
    """Return the derivative at rows of `v`, which is symmetric, times the gradient."""
    if not (torch.is_grad_enabled() or is_batched(gradient)):
        return kernels.pull(gradient, v, norm, radius)
    distance = safe_norm(v)
    outside = (distance >= radius).unsqueeze(-1)
    length = torch.where(distance > 0, distance, 1.0).unsqueeze(-1)
    unit = v / length
    across = gradient - unit * (unit * gradient).sum(-1, keepdim=True)
    return torch.where(outside, radius.clamp_min(0.0).unsqueeze(-1) / length * across, gradient)
