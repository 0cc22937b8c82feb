"""The active bounds of a chain of differences: ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

They are found by `kernels.cpu.difference_chain`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.autograd.batched_operator import Result, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu import difference_chain, is_installed
from optlayers.sets.search.pool_adjacent import block_means, settled

_LEAST_COMPILED = 1 << 8  # entries that the compiled loop is worth its start for


def nearest_in_chain(v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> Tensor:
    """Return the nearest points with all derivatives; a bound that is met exactly counts as active.

    Parameters
    ----------
    v, lower, upper : Tensor, shape (*batch, n)
    low_step, high_step : Tensor, shape (*batch, n - 1)
        Infinite where there is no bound.
    """
    data = (v, lower, upper, low_step, high_step)
    values, tight, pinned = _operator(*map(primal, data))
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
    """Find the active bounds, row by row on the CPU."""
    given = v, lower, upper, low_step, high_step
    batch, n = batch_shape(given, [1] * len(given)), v.shape[-1]
    point, low, high, least, most = data = [
        t.expand(*batch, t.shape[-1]).reshape(batch.numel(), t.shape[-1]).double() for t in given
    ]
    compiled = data[0].numel() >= _LEAST_COMPILED and is_installed()
    places = difference_chain.search(*(t.cpu() for t in data), interpreted=not compiled)
    tight, pinned = (t.to(v.device) for t in places)
    values = formula(point, low, high, least, most, tight, pinned)
    return values.to(v.dtype).reshape(*batch, n), tight.reshape(*batch, n - 1), pinned.reshape(*batch, n)


def _results(n: int) -> list[Result]:
    return [((n,), None), ((n - 1,), torch.int64), ((n,), torch.int64)]


_EVENTS = {"v": 1, "lower": 1, "upper": 1, "low_step": 1, "high_step": 1}
_operator = define("difference_chain", _EVENTS, _difference_chain, _results)
