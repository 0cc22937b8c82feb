"""The multiplier of a box section: the root of ``normal @ clamp(v - tau * normal, lower, upper) = total``.

A custom operator, so that its loop may look at values inside `torch.compile`, `torch.export` and `vmap`. It has no
derivative: the caller writes the answer as a formula of its own, given which entries are free.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import as_samples, batch_shape, define
from optlayers.autograd.primal import primal

_MOST_STEPS = 200
_BISECTION_PERIOD = 4  # every so many steps the bracket is halved, so that no data make Newton's method slow


def search(v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    """Return the multiplier, shape ``(*batch,)``, with no derivative; where the root is an interval, a point of it.

    Parameters
    ----------
    v : Tensor, shape (*batch, n)
    normal, lower, upper : Tensor, shape (*batch, n), or None (ones, no bound, no bound)
    total : Tensor, shape (*batch,)
    """
    options = (None if t is None else primal(t) for t in (normal, lower, upper))
    return _operator(primal(v), *options, primal(total))


def _section_multiplier(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor
) -> Tensor:
    """Newton's method on a piecewise linear, decreasing function, safeguarded by a bracket.

    Newton's step is exact on the piece that holds the root, so that the method stops after finitely many steps
    (Cominetti, Mascarenhas and Silva, "A Newton's method for the continuous quadratic knapsack problem", 2014).
    """
    batch = batch_shape((v, normal, lower, upper, total), (1, 1, 1, 1, 0))
    v = as_samples(v, batch, 1)
    normal, lower, upper = (None if t is None else as_samples(t, batch, 1) for t in (normal, lower, upper))
    total = total.expand(batch).reshape(-1, 1)
    square = None if normal is None else normal.square()
    eps = torch.finfo(v.dtype).eps
    first, last = _beyond_breakpoints(v, normal, lower, upper)
    tau = _start(v, normal, lower, upper, total).clamp(first, last)
    left, right = torch.full_like(tau, -torch.inf), torch.full_like(tau, torch.inf)
    # all of a step's work goes into three buffers: fresh ones of this size cost more than the arithmetic
    x, y, z = (v.new_empty(tau.shape[0], v.shape[-1]) for _ in range(3))
    for step in range(1, _MOST_STEPS):
        torch.sub(v, tau, out=x) if normal is None else torch.addcmul(v, normal, tau, value=-1, out=x)
        y = x if lower is None and upper is None else torch.clamp(x, lower, upper, out=y)
        product = y if normal is None else torch.mul(y, normal, out=z)
        excess = product.sum(-1, keepdim=True) - total
        rounding = eps * (torch.abs(product, out=z).sum(-1, keepdim=True) + total.abs())
        free = free_mask(y, lower, upper, out=(x, z))
        slope = (free if square is None else free.mul_(square)).sum(-1, keepdim=True)
        left, right = torch.where(excess >= 0, tau, left), torch.where(excess <= 0, tau, right)
        newton = tau + torch.where(slope > 0, excess / slope, torch.nan)
        done = (excess.abs() <= rounding) | ((newton - tau).abs() <= eps * tau.abs()) | (left >= right)
        if bool(done.all()):
            break
        middle = left.maximum(first) / 2 + right.minimum(last) / 2
        inside = (newton >= left) & (newton <= right)
        halve = ~inside | (
            left.isfinite() & right.isfinite() if step % _BISECTION_PERIOD == 0 else torch.zeros_like(inside)
        )
        tau = torch.where(done, tau, torch.where(halve, middle, newton))
    return tau.reshape(batch)


def free_mask(
    y: Tensor, lower: Tensor | None, upper: Tensor | None, out: tuple[Tensor | None, Tensor | None] = (None, None)
) -> Tensor:
    """Return 1 where an entry of a point of the box lies strictly between its bounds, else 0, in the point's dtype.

    Signs are faster than comparisons, whose boolean results have to be converted to be summed. `out` are two buffers.
    """
    below = None if lower is None else torch.sub(y, lower, out=out[0]).sign_()
    above = None if upper is None else torch.sub(upper, y, out=out[1]).sign_()
    if below is None or above is None:
        only = below if above is None else above
        return torch.ones_like(y) if only is None else only
    return below.mul_(above)


def stored_free_mask(y: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor:
    """Return `free_mask` for a result that may be of a half type, which rounds those at their bounds."""
    low, high = (None if bound is None else bound.detach().to(y.dtype) for bound in (lower, upper))
    return free_mask(y.detach(), low, high)


def _start(v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    """Return the root as if no bound counted, or a lower bound on the root that is better."""
    if normal is not None:
        square = normal.square().sum(-1, keepdim=True)
        return ((normal * v).sum(-1, keepdim=True) - total) / torch.where(square > 0, square, 1.0)
    mean = (v.sum(-1, keepdim=True) - total) / v.shape[-1]
    if upper is not None or lower is None:
        return mean
    room = total - lower.sum(-1, keepdim=True)
    return torch.where(room.isfinite(), mean.maximum((v - lower).amax(-1, keepdim=True) - room), mean)


def _beyond_breakpoints(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return multipliers before the first and after the last one at which an entry meets a bound."""
    firsts, lasts = [], []
    for bound in (lower, upper):
        if bound is not None:
            time = v - bound if normal is None else (v - bound) / normal
            finite = time.isfinite()
            firsts.append(torch.where(finite, time, torch.inf).amin(-1, keepdim=True))
            lasts.append(torch.where(finite, time, -torch.inf).amax(-1, keepdim=True))
    first, last = torch.stack(firsts).amin(0), torch.stack(lasts).amax(0)
    met = first.isfinite()
    first, last = torch.where(met, first, 0.0), torch.where(met, last, 0.0)
    spread = last - first
    margin = torch.where(spread > 0, spread, first.abs())
    margin = torch.where(margin > 0, margin, 1.0)
    return first - margin, last + margin


_operator = define(
    "section_multiplier", {"v": 1, "normal?": 1, "lower?": 1, "upper?": 1, "total": 0}, _section_multiplier
)
