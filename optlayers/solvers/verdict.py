"""What became of each sample: solved, shown to be infeasible, or neither."""

from dataclasses import replace

import torch
from torch import Tensor

from optlayers.solvers.augmented_lagrangian import augmented_lagrangian
from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.interior_point import interior_point
from optlayers.solvers.iteration import Best, Limits

_OF_CONES, _OF_ROWS = Limits(1e-13, 300, 60, 1e-10), Limits(1e-13, 100, 25)
_EMPTY = 1e-7  # the distance between slacks and their range, relative to the data, from which a set counts as empty
_REACH = 1e5  # relative to the data; a certificate must exclude all points up to this size
_TINY = 1e-7  # multipliers that do not count


def least_infeasible(program: ConicProgram) -> tuple[Tensor, Tensor]:
    """Return ``argmin |r|`` with ``A x + r`` in the range, ``(samples, slacks)``, and whether that proves emptiness.

    Where `r` is not zero, it is itself the proof that no point has its slacks in the range: ``A' r = 0``, and ``r' s``
    is positive for all slacks `s` of the range (Farkas).
    """
    free = replace(program, weight=torch.zeros_like(program.weight), is_strong=False, v=torch.zeros_like(program.v))
    best, everyone = Best.of(free), torch.arange(free.samples, device=free.v.device)
    if free.cones:
        best.run(free, everyone, lambda part, k: augmented_lagrangian(part, part.v, part.lower, 1.0), _OF_CONES)
    else:
        best.run(free, everyone, lambda part, k: interior_point(part, 1.0), _OF_ROWS)
    r = best.y
    length = torch.linalg.vector_norm(r, dim=-1)
    direction = r / length.clamp_min(torch.finfo(r.dtype).tiny).unsqueeze(-1)
    direction = torch.where(direction.abs() > _TINY, direction, 0.0)
    mismatch = free.adjoint(direction).abs().sum(-1)
    least = torch.where(direction > 0, program.lower * direction, program.upper * direction)
    is_cone = torch.arange(r.shape[-1], device=r.device) >= program.linear
    least = torch.where(is_cone, program.lower * direction, torch.where(direction == 0, 0.0, least))
    separation = least.sum(-1)  # over the range; of cones, the part of their offsets
    bounds = torch.cat([program.lower, program.upper, torch.ones_like(program.v[:, :1])], -1).abs()
    data = torch.where(bounds.isfinite(), bounds, 1.0).amax(-1).clamp_min(1.0)
    empty = (separation > _EMPTY * data) & (separation > _REACH * data * mismatch)
    return r, empty
