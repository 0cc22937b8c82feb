"""What is measured of a point, its projection and its gradient: pure functions to scalars, of data without graph."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from optlayers.feasible_set import FeasibleSet

Measures = dict[str, Tensor]


def violation_measures(violation: Tensor, tolerance: float) -> Measures:
    """Return the largest and the mean violation, and the share of samples above the tolerance."""
    return {
        "violation_max": violation.max(),
        "violation_mean": violation.mean(),
        "violated": (violation > tolerance).to(violation.dtype).mean(),
    }


def distance_measures(before: Sequence[Tensor], after: Sequence[Tensor], events: Sequence[int]) -> Measures:
    """Return the mean and the largest distance that samples are moved; `events` counts each variable's dimensions."""
    squares = [
        (a - b).square().flatten(a.dim() - event).sum(-1) if event else (a - b).square()
        for a, b, event in zip(before, after, events, strict=True)
    ]
    distance = sum(squares[1:], squares[0]).sqrt()
    return {"distance": distance.mean(), "distance_max": distance.max()}


def feasible_descent(bound: FeasibleSet, points: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the part of ``-gradient`` that the set lets a feasible point follow.

    That is ``lim (P(y - t g) - y) / t``, the projection onto the tangent cone, taken at a small `t`: exact for
    polyhedra, up to the curvature of the boundary for others.
    """
    size = max(float(g.abs().max()) if g.numel() else 0.0 for g in gradients)
    if size == 0:
        return [torch.zeros_like(g) for g in gradients]
    scale = max(1.0, max(float(y.abs().max()) for y in points))
    t = 1e-3 * scale / size
    moved = bound.project(*(y - t * g for y, g in zip(points, gradients, strict=True)))
    parts = moved if isinstance(moved, tuple) else (moved,)
    return [(part - y) / t for part, y in zip(parts, points, strict=True)]


def discarded_measures(gradients: list[Tensor], kept: list[Tensor]) -> Measures:
    """Return the norm of a gradient, of what is discarded of it, and the ratio of the two."""
    lost = get_total_norm([g - k for g, k in zip(gradients, kept, strict=True)])
    whole = get_total_norm(gradients)
    return {"gradient": whole, "gradient_discarded": lost, "gradient_discarded_share": share(lost, whole)}


def share(part: Tensor, whole: Tensor) -> Tensor:
    """Return the ratio, zero where there is nothing to share."""
    return torch.where(whole > 0, part / whole, 0.0)


def to_numbers(measures: dict[str, Tensor | float]) -> dict[str, float]:
    """Return the measures as numbers; waits for each device once."""
    tensors = {key: value.detach().float() for key, value in measures.items() if isinstance(value, Tensor)}
    numbers = {}
    for device in {tensor.device for tensor in tensors.values()}:
        here = {key: tensor for key, tensor in tensors.items() if tensor.device == device}
        numbers |= dict(zip(here, torch.stack(list(here.values())).tolist(), strict=True))
    return {key: numbers[key] if key in numbers else float(value) for key, value in measures.items()}
