"""Which constraints a point leaves no slack, and which way a gradient would move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers import cones
from optlayers.feasible_set import FeasibleSet


@dataclass(frozen=True, eq=False)
class Activity:
    """What holds a point where it is.

    Attributes
    ----------
    active : Tensor of bool, shape (*batch, k)
        For each inequality row and each cone, whether it has no slack left. A set without rows of its own has one
        entry: whether the point is on the boundary.
    held : Tensor, shape (*batch,)
        The share of the dimensions that equalities and tight inequality rows (active, not violated) take, at most 1.
    inward : Tensor of bool, shape (*batch, k), or None
        Whether a row is tight and a step along the direction asked for gives it slack; False for cones. None without
        a direction, and for sets without rows.
    """

    active: Tensor
    held: Tensor
    inward: Tensor | None = None


@torch.no_grad()
def activity(
    bound: FeasibleSet, points: Sequence[Tensor], tolerance: float = 1e-5, direction: Sequence[Tensor] | None = None
) -> Activity:
    """Find the constraints that are active at a point.

    Parameters
    ----------
    bound : FeasibleSet
        With a value for each parameter.
    points : sequence of Tensor, shapes (*batch, *variable.shape)
        One per variable.
    tolerance : float
        Slack up to ``tolerance * max(1, largest entry)`` is none.
    direction : sequence of Tensor, optional
        Of the shapes of the points, for `Activity.inward`.
    """
    v, at = bound.prepare(*points)
    residual, values = at.compiled.residual, at.values
    small = tolerance * v.abs().amax(-1, keepdim=True).clamp_min(1.0)
    if residual is None:
        active = _on_boundary(bound, v, points, small)
        return Activity(active, torch.zeros_like(active[..., 0], dtype=v.dtype))
    equalities, inequalities = residual.sizes[:2]
    slacks = residual.rows(v, values)
    _, nonnegative, *rest = slacks.split(residual.sizes, -1)
    at_bound = nonnegative <= small
    at_cone = [_on_cone(kind, alpha, slack, small) for (kind, alpha), slack in zip(residual.cones, rest, strict=True)]
    tight = at_bound & (nonnegative >= -small)
    held = ((tight.sum(-1) + equalities) / v.shape[-1]).clamp_max(1.0)
    inward = None
    if direction is not None:
        d, _ = bound.prepare(*direction)
        unit = small / tolerance * d / d.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(d.dtype).tiny)
        change = (residual.rows(v + unit, values) - slacks)[..., equalities : equalities + inequalities]
        significant = 1e-3 * change.abs().amax(-1, keepdim=True) if inequalities else change
        inward = torch.cat([tight & (change > significant), *(torch.zeros_like(c) for c in at_cone)], -1)
    return Activity(torch.cat([at_bound, *at_cone], -1), held, inward)


def _on_cone(kind: str, alpha: float, slack: Tensor, small: Tensor) -> Tensor:
    """Return whether a small step from the inside of the cone leaves it, ``(*batch, 1)``."""
    back = slack - small * _inside(kind, slack)
    return (cones.project(kind, alpha, back) - back).abs().amax(-1, keepdim=True) > 1e-3 * small


def _inside(kind: str, slack: Tensor) -> Tensor:
    """Return a point in the interior of a cone."""
    if kind == "exp":
        return slack.new_tensor([-1.0, 1.0, 1.0])
    if kind == "pow":
        return slack.new_tensor([1.0, 1.0, 0.0])
    inside = slack.new_zeros(slack.shape[-1])
    inside[0] = 1.0
    if kind == "psd":  # the diagonal, in the lower triangle by columns
        size = int((2 * len(inside)) ** 0.5)
        inside[[column * size - column * (column - 1) // 2 for column in range(size)]] = 1.0
    return inside


def _on_boundary(bound: FeasibleSet, v: Tensor, points: Sequence[Tensor], small: Tensor) -> Tensor:
    """Return whether one of two opposite small steps leaves the set, ``(*batch, 1)``.

    A step is tangent to the boundary with probability zero.
    """
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(v.shape[-1], generator=generator, dtype=torch.float64).to(v)
    out = torch.zeros_like(small, dtype=torch.bool)
    for step in (steps, -steps):
        moved = v + small * step
        flat = bound.unflatten(moved, [moved] * len(points))
        parts = flat if isinstance(flat, tuple) else (flat,)
        out = out | (bound.violation(*parts).unsqueeze(-1) > 1e-2 * small)
    return out
