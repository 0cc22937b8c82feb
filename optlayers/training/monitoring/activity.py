"""Which constraints a point leaves no slack, and which way a gradient would move it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers import cones
from optlayers.cones.triangle import order_of, to_vector
from optlayers.feasible_set import FeasibleSet
from optlayers.solvers.conic_program import largest


@dataclass(frozen=True, eq=False)
class Activity:
    """Which constraints shape points ``(*batch, n)``.

    Attributes
    ----------
    active : Tensor of bool, shape (*batch, k)
        For each inequality row and each cone, whether it has no slack left. A set without rows has one entry: whether
        the point is on the boundary.
    fixed : Tensor, shape (*batch,)
        The share of the dimensions that equalities and tight inequality rows (active, not violated) take, at most 1.
    inward : Tensor of bool, shape (*batch, k), or None
        Whether a row, not a cone, is tight and a step along the direction asked for gives it slack.
    """

    active: Tensor
    fixed: Tensor
    inward: Tensor | None = None

    def measures(self) -> dict[str, Tensor]:
        """Return the share of active constraints, and that of points without a dimension left."""
        dtype = self.fixed.dtype
        return {"active": self.active.to(dtype).mean(), "pinned": (self.fixed >= 1).to(dtype).mean()}


@torch.no_grad()
def activity(
    bound: FeasibleSet, points: Sequence[Tensor], tolerance: float = 1e-5, direction: Sequence[Tensor] | None = None
) -> Activity:
    """Return the constraints that are active at points, one tensor ``(*batch, *variable.shape)`` per variable.

    Slack up to ``tolerance * max(1, largest entry)`` is none. A `direction`, of the shapes of the points, is for
    `Activity.inward`.
    """
    v, at = bound.prepare(*points)
    residual = at.compiled.residual
    small = tolerance * v.abs().amax(-1, keepdim=True).clamp_min(1.0)
    if residual is None:
        # one of two opposite steps leaves the set, since a step is tangent to the boundary with probability zero
        generator = torch.Generator().manual_seed(0)
        step = small * torch.randn(v.shape[-1], generator=generator, dtype=torch.float64).to(v)
        violation = torch.maximum(largest(at.residual(v + step)), largest(at.residual(v - step)))
        return Activity(violation.unsqueeze(-1) > 1e-2 * small, torch.zeros_like(v[..., 0]))
    slacks = residual.rows(v, at.values)
    zero, nonnegative, *rest = slacks.split(residual.sizes, -1)
    at_bound = nonnegative <= small
    at_cone = [_on_cone(kind, alpha, slack, small) for (kind, alpha), slack in zip(residual.cones, rest, strict=True)]
    tight = at_bound & (nonnegative >= -small)
    fixed = ((tight.sum(-1) + zero.shape[-1]) / v.shape[-1]).clamp_max(1.0)
    inward = None
    if direction is not None:
        d, _ = bound.prepare(*direction)
        unit = small / tolerance * d / d.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(d.dtype).tiny)
        change = (residual.rows(v + unit, at.values) - slacks).split(residual.sizes, -1)[1]
        significant = 1e-3 * change.abs().amax(-1, keepdim=True) if change.shape[-1] else change
        inward = torch.cat([tight & (change > significant), *(torch.zeros_like(c) for c in at_cone)], -1)
    return Activity(torch.cat([at_bound, *at_cone], -1), fixed, inward)


def _on_cone(kind: str, alpha: float, slack: Tensor, small: Tensor) -> Tensor:
    """Return whether a small step from the inside of the cone leaves it, ``(*batch, 1)``."""
    size = slack.shape[-1]
    if kind == "psd":
        inside = to_vector(torch.eye(order_of(size))).to(slack)
    else:
        inside = slack.new_tensor({"soc": [1.0, *[0.0] * (size - 1)], "exp": [-1.0, 1, 1], "pow": [1.0, 1, 0]}[kind])
    back = slack - small * inside
    return (cones.project(kind, alpha, back) - back).abs().amax(-1, keepdim=True) > 1e-3 * small
