"""The multiplier of a box section: the root of ``normal @ clamp(v - tau * normal, lower, upper) = total``.

Custom operators, so that their loops may look at values inside `torch.compile`, `torch.export` and `vmap`. They have no
derivatives: the caller writes the answer as a formula of its own, given which entries are free.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, as_samples, batch_shape, define
from optlayers.autograd.primal import primal

_Section = tuple[Tensor | None, Tensor | None, Tensor | None]  # normal, lower, upper

_MOST_STEPS = 200
_MOST_MOVES = 40  # each takes a point nearer by the type's precision; from one end of the range to one takes 20
_SETTLED = 16  # roundings by which a total may be missed: the caller's formula mends the rest
_SMALL = 2.0**-40  # brings numbers to where sums of them do not overflow
_NEARLY = 1e-3  # of the products: totals out of reach by more are told before
_BISECTION_PERIOD = 4  # every so many steps the bracket is halved, so that no data make Newton's method slow


def search(v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor) -> Tensor:
    """Return the multiplier, ``(*batch,)``, with no derivative; where the root is an interval, a point of it.

    A normal that is None is all ones.
    """
    options = (None if t is None else primal(t) for t in (normal, lower, upper))
    return _multiplier(primal(v), *options, primal(total))


def move_to_total(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor
) -> Tensor:
    """Return ``v - tau * normal`` for the multiplier `tau`, with no derivative; arguments as for `search`.

    A multiplier is rounded relative to itself. Where that is more than the set's own size the point is moved again,
    from where it was moved to, until its nearest point of the box has the total.
    """
    options = (None if t is None else primal(t) for t in (normal, lower, upper))
    return _mover(primal(v), *options, primal(total))


class _Root(NamedTuple):
    """A root, and where the search ended; all ``(rows, 1)``."""

    tau: Tensor
    excess: Tensor
    rounding: Tensor
    slope: Tensor
    first: Tensor
    last: Tensor

    def is_met(self, roundings: float) -> Tensor:
        """Whether the total is met but for so many roundings; not where sums overflow."""
        return self.excess.abs() - roundings * self.rounding <= 0

    def is_out_of_reach(self) -> Tensor:
        """Whether no entry can move towards the total."""
        above, below = (self.tau >= self.last) & (self.excess > 0), (self.tau <= self.first) & (self.excess < 0)
        return (self.slope == 0) & (above | below)


def _section_multiplier(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor
) -> Tensor:
    v, section, total, batch = _samples(v, normal, lower, upper, total)
    return _root(v, section, total, None).tau.reshape(batch)


def _moved_to_total(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor
) -> Tensor:
    eps, most = torch.finfo(v.dtype).eps, torch.finfo(v.dtype).max
    v, section, total, batch = _samples(v, normal, lower, upper, total)
    normal, lower, upper = section
    x, start = v, None
    for _ in range(_MOST_MOVES):
        root = _root(x, section, total, start)
        tau, settled = root.tau, root.is_met(_SETTLED)
        all_settled = bool(settled.all())
        if not all_settled:
            finite = root.excess.isfinite() & root.rounding.isfinite()
            if not bool(finite.all()):  # sums overflow
                low, high = (None if t is None else t * _SMALL for t in (lower, upper))
                again = _root(x * _SMALL, (normal, low, high), total * _SMALL, None).tau
                tau = torch.where(finite, tau, (again / _SMALL).clamp(-most, most))
        x = x - tau if normal is None else x - tau * normal
        if all_settled:
            break
        if bool((settled | root.is_out_of_reach() | tau.isnan()).all()):  # the total is out of reach, or the root
            at_end = v.abs().amax(-1, keepdim=True) > most * _SMALL
            x = torch.where(at_end & ~root.is_met(_NEARLY / eps), torch.nan, x)
            break
        start = torch.zeros_like(tau)
    return x.reshape(*batch, v.shape[-1])


def _root(v: Tensor, section: _Section, total: Tensor, start: Tensor | None) -> _Root:
    """Return the root for rows.

    Newton's method on a piecewise linear, decreasing function, safeguarded by a bracket. Its step is exact on the piece
    that holds the root, so that the method stops after finitely many (Cominetti, Mascarenhas and Silva, "A Newton's
    method for the continuous quadratic knapsack problem", 2014). From a given start, the root is near zero, on a scale
    that is not known: the bracket is halved by its geometric mean. NaN ends the search.
    """
    normal, lower, upper = section
    square = None if normal is None else normal.square()
    eps, least = torch.finfo(v.dtype).eps, torch.finfo(v.dtype).tiny
    first, last = beyond_breakpoints(v, normal, lower, upper)
    tau = _start(v, normal, lower, upper, total).clamp(first, last) if start is None else start
    left, right = torch.full_like(tau, -torch.inf), torch.full_like(tau, torch.inf)
    # all of a step's work goes into three buffers: fresh ones of this size cost more than the arithmetic
    x, y, z = (v.new_empty(tau.shape[0], v.shape[-1]) for _ in range(3))
    size, root = total.abs(), None
    for count in range(1, _MOST_STEPS):
        torch.sub(v, tau, out=x) if normal is None else torch.addcmul(v, normal, tau, value=-1, out=x)
        y = x if lower is None and upper is None else torch.clamp(x, lower, upper, out=y)
        product = y if normal is None else torch.mul(y, normal, out=z)
        excess = product.sum(-1, keepdim=True) - total
        rounding = eps * (torch.abs(product, out=z).sum(-1, keepdim=True) + size)
        free = free_mask(y, lower, upper, out=(x, z))
        slope = (free if square is None else free.mul_(square)).sum(-1, keepdim=True)
        root, step = _Root(tau, excess, rounding, slope, first, last), excess / slope
        left, right = torch.where(excess >= 0, tau, left), torch.where(excess <= 0, tau, right)
        active = (excess.abs() > rounding) & (step.abs() > eps * tau.abs()) & (left < right)
        if not bool(active.any()):
            break
        newton = tau + step
        halve = (slope == 0) | (newton < left) | (newton > right)
        if count % _BISECTION_PERIOD == 0:
            if bool((root.is_out_of_reach() >= active).all()):
                break
            halve = halve | (left.isfinite() & right.isfinite())
        if bool(halve.any()):
            low, high = left.maximum(first), right.minimum(last)
            middle = low / 2 + high / 2
            if start is not None:
                middle = middle.sign() * (low.abs().clamp_min(least).sqrt() * high.abs().clamp_min(least).sqrt())
            newton = torch.where(halve, middle, newton)
        tau = torch.where(active, newton, tau)
    assert root is not None
    return root


def _samples(
    v: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None, total: Tensor
) -> tuple[Tensor, _Section, Tensor, torch.Size]:
    batch = batch_shape((v, normal, lower, upper, total), tuple(_EVENTS.values()))
    normal, lower, upper = (None if t is None else as_samples(t, batch, 1) for t in (normal, lower, upper))
    return as_samples(v, batch, 1), (normal, lower, upper), total.expand(batch).reshape(-1, 1), batch


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


def beyond_breakpoints(
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
    first, last = (t[0] if len(t) == 1 else f(*t) for t, f in ((firsts, torch.minimum), (lasts, torch.maximum)))
    met = first.isfinite()
    first, last = torch.where(met, first, 0.0), torch.where(met, last, 0.0)
    spread = last - first
    margin = torch.where(spread > 0, spread, first.abs())
    margin = torch.where(margin > 0, margin, 1.0)
    most = torch.finfo(v.dtype).max
    return (first - margin).clamp(-most, most), (last + margin).clamp(-most, most)


def _one_point(n: int) -> list[Result]:
    return [((n,), None)]


_EVENTS = {"v": 1, "normal?": 1, "lower?": 1, "upper?": 1, "total": 0}
_multiplier = define("section_multiplier", _EVENTS, _section_multiplier)
_mover = define("section_move", _EVENTS, _moved_to_total, _one_point)
