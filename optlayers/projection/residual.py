"""The residual of the conic constraints: slack minus a point of the cone, row by row, as a torch operation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import AffineMap, Values


class RowsMap:
    """``(y, p) -> A(p) y + b(p)`` as sparse torch operations, differentiable in both."""

    def __init__(self, rows: AffineRows, starts: Sequence[int]) -> None:
        self.shape = (len(rows), rows.n)
        self.offset: AffineMap = rows.offset.compile(starts)
        row, column, parameter, value = rows.triplets()
        owner = np.searchsorted(np.asarray(starts), parameter, side="right") - 1
        owner[parameter == rows.parameters] = -1
        self.terms: list[tuple[int, Constant, Constant, Constant, Constant]] = []
        for k in np.unique(owner[column < rows.n]):
            mine = (owner == k) & (column < rows.n)
            place = parameter[mine] - (starts[k] if k >= 0 else 0)
            self.terms.append(
                (int(k), Constant(row[mine]), Constant(column[mine]), Constant(place), Constant(value[mine]))
            )

    def matrix(self, values: Values) -> Tensor:
        """Return ``A(p)``, dense, of shape ``(*batch, m, n)``."""
        result = torch.zeros(self.shape, dtype=values.dtype, device=values.device).flatten()
        for k, row, column, place, value in self.terms:
            index = row.on(values.device) * self.shape[1] + column.on(values.device)
            entries = value.on(values.device, values.dtype)
            if k >= 0:
                entries = entries * values.tensors[k][..., place.on(values.device)]
            base = torch.zeros_like(result[..., :1]).expand(*entries.shape[:-1], self.shape[0] * self.shape[1])
            result = result + base.index_add(-1, index, entries)
        return result.reshape(*result.shape[:-1], *self.shape)

    def __call__(self, y: Tensor, values: Values) -> Tensor:
        """Return ``A(p) y + b(p)`` for points ``(*batch, n)``."""
        result = self.offset(values)
        result = result.expand(*torch.broadcast_shapes(result.shape[:-1], y.shape[:-1]), self.shape[0])
        for k, row, column, place, value in self.terms:
            entries = y[..., column.on(values.device)] * value.on(values.device, values.dtype)
            if k >= 0:
                entries = entries * values.tensors[k][..., place.on(values.device)]
            zeros = entries.new_zeros((*entries.shape[:-1], self.shape[0]))
            result = result + zeros.index_add(-1, row.on(values.device), entries)
        return result


class Residual:
    """Slack minus a point of the cone, for all rows of a form without auxiliary variables.

    The point is the projection of the slack, except for exponential and power cones, where it is a feasible point close
    to it, so that the residual is an upper bound there. First derivatives are exact and finite.
    """

    def __init__(self, form: ConicForm, starts: Sequence[int]) -> None:
        parts = [form.equalities, form.inequalities, *(cone.rows for cone in form.cones)]
        self.rows = RowsMap(form.rows, starts)
        self.cones = [(cone.kind, cone.alpha) for cone in form.cones]
        self.sizes = [len(part) for part in parts]

    def __call__(self, y: Tensor, values: Values) -> Tensor:
        """Return the residual ``(*batch, m)`` of points ``(*batch, n)``."""
        zero, nonneg, *cones = self.rows(y, values).split(self.sizes, -1)
        parts = [zero, nonneg.clamp_max(0.0)]
        for (kind, alpha), slack in zip(self.cones, cones, strict=True):
            parts.append(slack - member(kind, alpha, slack))
        return torch.cat(parts, -1)


def member(kind: str, alpha: float, slack: Tensor) -> Tensor:
    """Return the nearest (or a near) point of the cone."""
    if kind == "soc":
        return _project_soc(slack)
    if kind == "psd":
        return _project_psd(slack)
    x, y, z = slack.unbind(-1)
    if kind == "exp":
        return _near_exponential(x, y, z)
    x, y = x.clamp_min(0.0), y.clamp_min(0.0)
    reach = x**alpha * y ** (1 - alpha)
    return torch.stack([x, y, z.maximum(-reach).minimum(reach)], -1)


def _near_exponential(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the nearest of three points of ``y exp(x / y) <= z``: with another z, with another x, with y = 0."""
    limit = math.log(torch.finfo(x.dtype).max) / 2
    positive, above = y > 0, z > 0
    safe_y, safe_z = torch.where(positive, y, 1.0), torch.where(above, z, 1.0)
    ratio = x / safe_y
    height = safe_y * torch.exp(ratio.clamp_max(limit))
    rise = torch.where(positive & (ratio < limit), (height - z).clamp_min(0.0), torch.inf)
    other_x = safe_y * (safe_z / safe_y).log()
    shift = torch.where(positive & above, (x - other_x).clamp_min(0.0), torch.inf)
    zero = torch.zeros_like(x)
    face = torch.stack([x.clamp_max(0.0), zero, z.clamp_min(0.0)], -1)
    fall = x.clamp_min(0.0) + y.abs() + (-z).clamp_min(0.0)
    raised, shifted = torch.stack([x, y, z.maximum(height)], -1), torch.stack([x.minimum(other_x), y, z], -1)
    best = torch.where((rise <= shift).unsqueeze(-1), raised, shifted)
    return torch.where((fall < rise.minimum(shift)).unsqueeze(-1), face, best)


def _project_soc(slack: Tensor) -> Tensor:
    """Project onto ``{(t, x) : ||x|| <= t}`` (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1)."""
    head, tail = slack[..., :1], slack[..., 1:]
    norm = torch.linalg.vector_norm(tail, dim=-1, keepdim=True)
    middle = (head + norm) / 2
    on_boundary = torch.cat([middle, tail * (middle / torch.where(norm > 0, norm, 1.0))], -1)
    return torch.where(norm <= head, slack, torch.where(norm <= -head, 0.0, on_boundary))


def _project_psd(slack: Tensor) -> Tensor:
    n = int((2 * slack.shape[-1]) ** 0.5)
    column, row = torch.triu_indices(n, n, device=slack.device)
    scale = torch.where(row == column, 1.0, 2.0**0.5).to(slack)
    lower = slack.new_zeros((*slack.shape[:-1], n * n)).index_copy(-1, row * n + column, slack / scale)
    lower = lower.reshape(*slack.shape[:-1], n, n)
    values, vectors = torch.linalg.eigh(lower.detach())
    positive, gap = values.clamp_min(0.0), values.unsqueeze(-1) - values.unsqueeze(-2)
    apart = gap.abs() > torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True).unsqueeze(-1)
    slopes = (positive.unsqueeze(-1) - positive.unsqueeze(-2)) / torch.where(apart, gap, 1.0)
    slopes = torch.where(apart, slopes, (values > 0).to(values.dtype).unsqueeze(-1).expand_as(gap))
    # divided differences: the value is exact, and so is the first derivative, at repeated eigenvalues too
    projected = vectors @ (slopes * (vectors.mT @ lower @ vectors)) @ vectors.mT
    return projected[..., row, column] * scale
