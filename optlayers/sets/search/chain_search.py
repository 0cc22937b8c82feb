"""The active bounds of a chain of differences: ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

The loop along the chain is in C++, `csrc/kernels/difference_chain.cpp`.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.autograd.batched_operator import Result, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu.call import run
from optlayers.sets.search.pool_adjacent import block_means, settled


def nearest_in_chain(v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> Tensor:
    """Return the nearest points with all derivatives; a bound that is met exactly counts as active.

    Bounds that are absent are infinite.
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


def search(v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor) -> tuple[Tensor, Tensor]:
    """Return which steps are tight and which entries pinned, at their lower (1) or upper (2) bounds, or neither (0).

    A block of tight steps has at most one pinned entry. All data are rows in float64; the search is done on the CPU.
    """
    data = [t.cpu().contiguous() for t in (v, lower, upper, low_step, high_step)]
    tight, pinned = (torch.empty(t.shape, dtype=torch.int64) for t in (low_step, v))
    run("difference_chain", data[0], *data, tight, pinned)
    return tight.to(v.device), pinned.to(v.device)


def _difference_chain(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    v = given[0]
    batch, n = batch_shape(given, [1] * len(given)), v.shape[-1]
    data = [t.expand(*batch, t.shape[-1]).reshape(batch.numel(), t.shape[-1]).double() for t in given]
    tight, pinned = search(*data)
    values = formula(*data, tight=tight, pinned=pinned)
    return values.to(v.dtype).reshape(*batch, n), tight.reshape(*batch, n - 1), pinned.reshape(*batch, n)


def _results(n: int) -> list[Result]:
    return [((n,), None), ((n - 1,), torch.int64), ((n,), torch.int64)]


_EVENTS = {"v": 1, "lower": 1, "upper": 1, "low_step": 1, "high_step": 1}
_operator = define("difference_chain", _EVENTS, _difference_chain, _results)
