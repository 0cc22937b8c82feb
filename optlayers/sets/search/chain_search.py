"""The active bounds of a chain of differences: ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

Dynamic programming along the chain (Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation",
2013, for its dual). The least cost of the first entries, as a function of the last of them, is convex and piecewise
quadratic. A step to the next entry cuts its derivative at the root, moves the left part by the least step, the right
part by the largest, and joins them by zero; then the line ``y - v[i]`` is added. So the knots left and right of the
root are two stacks, each moved as a whole, and finding the next root takes knots from one to the other. A knot keeps by
how much the slope turns there, a whole number, and how far the derivative leaps, where a bound has cut it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library
from torch.nn.functional import pad

from optlayers.autograd.batched_operator import front
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu import difference_chain, is_installed
from optlayers.sets.search.pool_adjacent import block_means, settled

_NAME = "optlayers::difference_chain"
_LEAST_COMPILED = 1 << 8  # entries that the compiled loop is worth its start for
_FEW_ROWS = 128  # up to which the interpreted loop over rows is faster than the one over entries


def nearest_in_chain(v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> Tensor:
    """Return the nearest points with all derivatives; a bound that is met exactly counts as active.

    Parameters
    ----------
    v, lower, upper : Tensor, shape (*batch, n)
    low_step, high_step : Tensor, shape (*batch, n - 1)
        Infinite where there is no bound.
    """
    data = (v, lower, upper, low_step, high_step)
    values, tight, pinned = torch.ops.optlayers.difference_chain(*map(primal, data))
    if not is_traced() and not any(map(may_need_derivative, data)):
        return values
    return settled(formula(*data, tight, pinned), values)


def formula(
    v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor, tight: Tensor, pinned: Tensor
) -> Tensor:
    """Return the point whose steps are `tight`, from below (1) or above (2), and whose entries are `pinned` alike."""
    step = torch.where(tight == 1, low_step, torch.where(tight == 2, high_step, 0.0))
    shift = pad(step.cumsum(-1), (1, 0))
    position = torch.arange(v.shape[-1], device=v.device)
    starts = torch.where(pad(tight, (1, 0)) == 0, position, 0).cummax(-1)[0]
    mean = block_means(v - shift, starts)
    level = torch.where(pinned == 1, lower - shift, torch.where(pinned == 2, upper - shift, 0.0))
    level, count = (torch.zeros_like(level).scatter_add(-1, starts, t) for t in (level, (pinned > 0).to(level.dtype)))
    return torch.where(count.gather(-1, starts) > 0, level.gather(-1, starts), mean) + shift


def _difference_chain(
    v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = _batch(v, lower, upper, low_step, high_step), v.shape[-1]
    data = [
        t.expand(*batch, t.shape[-1]).reshape(batch.numel(), t.shape[-1])
        for t in (v, lower, upper, low_step, high_step)
    ]
    if batch.numel() == 0:
        return _fake_difference_chain(v, lower, upper, low_step, high_step)
    point, *bounds = (t.double() for t in data)
    compiled = point.numel() >= _LEAST_COMPILED and is_installed()
    if v.device.type == "cpu" and (compiled or len(point) <= _FEW_ROWS):
        tight, pinned = difference_chain.search(point, *bounds, interpreted=not compiled)
    else:
        tight, pinned = search_rows(point, *bounds)
    lower, upper, low_step, high_step = bounds
    values = formula(point, lower, upper, low_step, high_step, tight, pinned)
    return values.to(v.dtype).reshape(*batch, n), tight.reshape(*batch, n - 1), pinned.reshape(*batch, n)


def search_rows(v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> tuple[Tensor, Tensor]:
    """Return which steps are tight and which entries pinned, at their lower (1) or upper (2) bounds, or neither (0).

    A block of tight steps has at most one pinned entry. All data have the same number of rows, and are float64.
    """
    n = v.shape[-1]
    tie = difference_chain.TIE * _size(v, low_step, high_step)
    search = _Search(v, tie)
    best, holder, via = [], [], []
    for i in range(n):
        if i > 0:
            search.take_step(low_step[:, i - 1], high_step[:, i - 1], i - 1)
        search.meet_bounds(lower[:, i], upper[:, i], i)
        search.find_root(v[:, i])
        best.append(search.root)
        holder.append(torch.where(search.held >= 0, 2 * search.pick(search.origin, search.held) + search.held, -1))
        via.append(search.via)
    best, holder, via = (torch.stack(columns, -1) for columns in (best, holder, via))
    margin = torch.where((holder >= 0) | (via >= 0), tie.unsqueeze(1), 0.0)
    return _go_back(lower, upper, low_step, high_step, best, holder, via, margin)


def _size(v: Tensor, low_step: Tensor, high_step: Tensor) -> Tensor:
    """Return the size of the numbers that are added in each row: of entries, and of runs of steps."""
    size = v.abs().amax(-1)
    for step in (low_step, high_step):
        total = torch.where(step.isinf(), 0.0, step).cumsum(-1)
        since = torch.where(step.isinf(), total, -torch.inf)
        position = torch.where(step.isinf(), torch.arange(step.shape[-1], device=v.device), -1).cummax(-1)[0]
        start = torch.where(position >= 0, since.gather(-1, position.clamp_min(0)), 0.0)
        if step.shape[-1]:
            size = size.maximum((total - start).abs().amax(-1))
    return size


class _Search:
    """The derivative of the cost so far, in all rows: its root, and the knots on both sides (0: left, 1: right)."""

    def __init__(self, v: Tensor, tie: Tensor) -> None:
        count, n = v.shape
        self.row = torch.arange(count, device=v.device)
        self.knots = v.new_zeros(4, count, 2, 2 * n)  # place less the side's shift, turn, leap, maker
        self.count = torch.zeros(count, 2, dtype=torch.int64, device=v.device)
        self.shift = v.new_zeros(count, 2)
        self.bound = v.new_tensor([-torch.inf, torch.inf]).repeat(count, 1)
        self.origin = torch.zeros_like(self.count)
        self.slope, self.edge = v.new_ones(count, 2), v.new_zeros(count, 2)
        self.root = v.new_zeros(count)
        self.held = self.via = self.row
        self.tie = 2 * tie

    def pick(self, pair: Tensor, side: Tensor) -> Tensor:
        """Return one of two columns, row by row."""
        return pair.gather(1, side.clamp_min(0).unsqueeze(1)).squeeze(1)

    def take_step(self, low: Tensor, high: Tensor, i: int) -> None:
        """Cut the derivative at its root, and move the parts."""
        for side, step in enumerate((low, high)):
            turn = self.slope[:, side] * (2 * side - 1)
            knot = torch.stack(
                [self.root - self.shift[:, side], turn, self.edge[:, side], torch.full_like(turn, 2 * i + side)]
            )
            self.knots[:, self.row, side, self.count[:, side]] = knot
            open_ended = step.isinf()
            self.count[:, side] = torch.where(open_ended, 0, self.count[:, side] + 1)
            self.shift[:, side] = torch.where(open_ended, 0.0, self.shift[:, side] + step)
            self.bound[:, side] = torch.where(open_ended, step, self.bound[:, side] + step)

    def meet_bounds(self, lower: Tensor, upper: Tensor, i: int) -> None:
        """Narrow the domain to an entry's own bounds."""
        closer = torch.stack([lower > self.bound[:, 0], upper < self.bound[:, 1]], 1)
        self.bound = torch.where(closer, torch.stack([lower, upper], 1), self.bound)
        self.origin = torch.where(closer, i, self.origin)

    def find_root(self, x: Tensor) -> None:
        """Add the line ``y - x``, and go from the flat piece, along the others, to the one that holds the root.

        Where the way leads left, all is mirrored by `sign`.
        """
        tops = self._tops()
        self.root = torch.minimum(torch.maximum(x, self.bound[:, 0]), self.bound[:, 1])
        near = torch.where(self.root == x, self.tie, 0.0)
        side = torch.where(self.root > tops[:, 1] - near, 1, torch.where(self.root < tops[:, 0] + near, 0, -1))
        self.via = torch.full_like(side, -1)
        self.held = torch.where((side < 0) & (self.root != x), (self.root < x).long(), -1)
        self.slope.fill_(1.0)
        gap = (self.root - x).abs().unsqueeze(1)
        own = self.held.unsqueeze(1) == torch.arange(2, device=x.device)
        self.edge = torch.where(self.held.unsqueeze(1) >= 0, torch.where(own, torch.inf, gap), 0.0)
        a = (side >= 0).nonzero().squeeze(1)
        side, sign = side[a], 2.0 * side[a] - 1.0
        at = sign * tops[a, side]
        value, slope = at - sign * x[a], torch.ones_like(at)
        while len(a):
            other = 1 - side
            behind, ahead = sign * self.bound[a, other], sign * self.bound[a, side]
            k = self.count[a, side] - 1
            self.count[a, side] = k
            _, turn, leap, maker = knot = self.knots[:, a, side, k]
            after, steeper = value + leap, slope + sign * turn
            end = after == torch.inf
            stop = ~end & (leap > 0) & (at >= behind) & (after >= -self.tie[a] * steeper)
            move = ~(end | stop)
            knot[0] = sign * at - self.shift[a, other]
            self._push(a[move], other[move], knot[:, move])
            following = sign * (self.knots[0, a, side, (k - 1).clamp_min(0)] + self.shift[a, side])
            following = torch.where(k > 0, following, torch.inf)
            zero, barrier = at - after / steeper, torch.minimum(following, ahead)
            landing = torch.maximum(zero, behind)
            lands = move & (landing <= barrier) & (landing < following - self.tie[a])
            caught = lands & (behind > zero)
            further = torch.where(move, after + steeper * (barrier - at), value)
            blocked = end | (move & ~lands & (ahead <= following))
            done = stop | lands | blocked
            b, s, o = a[done], side[done], other[done]
            root = sign * torch.where(blocked, ahead, torch.where(stop, at, landing))
            edges = torch.where(
                caught,
                torch.inf,
                torch.where(stop, (-value).clamp_min(0), torch.where(blocked, (-further).clamp_min(0), 0.0)),
            )
            self.root[b], self.edge[b, o] = root[done], edges[done]
            edges = torch.where(caught, after + steeper * (behind - at), torch.where(stop, after.clamp_min(0), 0.0))
            self.edge[b, s] = torch.where(blocked, torch.inf, edges)[done]
            self.slope[b, o], self.slope[b, s] = torch.where(move, steeper, slope)[done], steeper[done]
            self.held[b] = torch.where(blocked, side, torch.where(caught, other, -1))[done]
            self.via[b] = torch.where(stop, maker.long(), -1)[done]
            a, side, sign, at, value, slope = (t[~done] for t in (a, side, sign, barrier, further, steeper))

    def _tops(self) -> Tensor:
        """Return the places of the knots next to the flat piece, infinite where there is none."""
        last = (self.count - 1).clamp_min(0).unsqueeze(-1)
        place = self.knots[0].gather(2, last).squeeze(-1) + self.shift
        return torch.where(self.count > 0, place, place.new_tensor([-torch.inf, torch.inf]))

    def _push(self, row: Tensor, side: Tensor, knot: Tensor) -> None:
        self.knots[:, row, side, self.count[row, side]] = knot
        self.count[row, side] += 1


def _go_back(
    lower: Tensor,
    upper: Tensor,
    low_step: Tensor,
    high_step: Tensor,
    best: Tensor,
    holder: Tensor,
    via: Tensor,
    margin: Tensor,
) -> tuple[Tensor, Tensor]:
    """Follow the chain back from its last entry: each entry is its own best one, unless a step keeps it from that.

    Where an entry is held by a bound, a step keeps it from that by more than the `margin`; and a root at a leap leads
    back, by tight steps, to the entry that made it.
    """
    tight, pinned = torch.zeros_like(low_step, dtype=torch.int64), torch.zeros_like(best, dtype=torch.int64)
    y, due, path = best[:, -1], via[:, -1], holder[:, -1]
    for i in reversed(range(best.shape[-1])):
        here = (path >= 0) & (path // 2 == i)
        pinned[:, i] = torch.where(here, path % 2 + 1, 0)
        y = torch.where(here, torch.where(path % 2 == 0, lower[:, i], upper[:, i]), y)
        path = torch.where(here, -1, path)
        if i == 0:
            break
        z, most, least = best[:, i - 1], y - low_step[:, i - 1], y - high_step[:, i - 1]
        held, bound_on, m = path >= 0, due >= 0, margin[:, i - 1]
        returns = bound_on & (due // 2 == i - 1)
        own = torch.where(z >= torch.where(bound_on, most / 2 + least / 2, most + m), 1, 0)
        own = torch.where((own == 0) & (bound_on | (z <= least - m)), 2, own)
        own = torch.where(returns, due % 2 + 1, own)
        tight[:, i - 1] = torch.where(held, path % 2 + 1, own)
        free = ~held & (returns | (own == 0))
        y = torch.where(free, z, torch.where(tight[:, i - 1] == 1, most, least))
        due, path = torch.where(free, via[:, i - 1], due), torch.where(free, holder[:, i - 1], path)
    return tight, pinned


def _batch(v: Tensor, *data: Tensor) -> torch.Size:
    return torch.broadcast_shapes(v.shape[:-1], *(t.shape[:-1] for t in data))


def _fake_difference_chain(
    v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = _batch(v, lower, upper, low_step, high_step), v.shape[-1]
    tight, pinned = (v.new_empty(*batch, k, dtype=torch.int64) for k in (n - 1, n))
    return v.new_empty(*batch, n), tight, pinned


def _map_difference_chain(info: Any, dims: tuple[int | None, ...], *tensors: Tensor) -> Any:
    return torch.ops.optlayers.difference_chain(*front(dims, tensors, (1,) * 5)), (0, 0, 0)


library.define(
    _NAME,
    "(Tensor v, Tensor lower, Tensor upper, Tensor low_step, Tensor high_step) -> (Tensor, Tensor, Tensor)",
)
library.impl(_NAME, "default", _difference_chain)
library.register_fake(_NAME, _fake_difference_chain)
library.register_vmap(_NAME, _map_difference_chain)
