"""The least-infeasible points of an empty chain of bounded steps."""

import torch
from torch import Tensor

from optlayers.autograd.primal import primal

_STEPS = 60
_LENGTHS = 12  # step lengths 1, 1/2, 1/4, ... that each step compares


def least_violation(lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> Tensor:
    """Minimise the sum of squared violations of ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

    Newton's method on a convex, piecewise quadratic function, with the best of several step lengths. It has no
    derivative. Shapes (*batch, n), (*batch, n - 1).
    """
    lower, upper, low_step, high_step = (primal(t).double() for t in (lower, upper, low_step, high_step))
    n = lower.shape[-1]
    rows = torch.eye(n, dtype=lower.dtype, device=lower.device)
    rows = torch.cat([rows, rows.diff(dim=0)])
    batch = torch.broadcast_shapes(*(t.shape[:-1] for t in (lower, upper, low_step, high_step)))
    low, high = (
        torch.cat([t.expand(*batch, t.shape[-1]) for t in pair], -1) for pair in ((lower, low_step), (upper, high_step))
    )
    y = _middle(lower, upper).expand(*batch, n)
    lengths = 0.5 ** torch.arange(_LENGTHS, dtype=y.dtype, device=y.device)
    for _ in range(_STEPS):
        over, under = _violations(y @ rows.mT, low, high)
        weight = (over > 0).to(y.dtype) + (under > 0).to(y.dtype)
        curvature = rows.mT @ (weight.unsqueeze(-1) * rows) + 1e-12 * torch.eye(n, dtype=y.dtype, device=y.device)
        direction = torch.linalg.solve(curvature, ((under - over) @ rows).unsqueeze(-1)).squeeze(-1)
        trials = y.unsqueeze(-2) + lengths.unsqueeze(-1) * direction.unsqueeze(-2)
        both = torch.cat(_violations(trials @ rows.mT, low.unsqueeze(-2), high.unsqueeze(-2)), -1)
        cost = both.square().sum(-1)
        best = cost.argmin(-1)[..., None, None].expand(*batch, 1, n)
        better = cost.amin(-1, keepdim=True) < (over.square() + under.square()).sum(-1, keepdim=True)
        y = torch.where(better, trials.gather(-2, best).squeeze(-2), y)
    return y


def _violations(values: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return (values - high).clamp_min(0), (low - values).clamp_min(0)


def _middle(lower: Tensor, upper: Tensor) -> Tensor:
    finite = torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper, 0.0))
    return (finite + torch.where(upper.isfinite(), upper, finite)) / 2
