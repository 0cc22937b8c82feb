"""The two thresholds of the projection onto ``{y : sum of the k largest <= total}``, found without sorting.

With ``P(s) = sum_i pos(v_i - s)`` and ``Q(s) = k s + P(s)``, whose minimum is the sum of the k largest entries of `v`
(Rockafellar and Uryasev, "Optimization of conditional value-at-risk", 2000), entries above `a` move down by ``a - b``,
those between `b` and `a` become `b`, and the others stay, where ``Q(a) = Q(b) = L`` and ``L - k (a - b) = total``. The
left side of the last equation is convex and decreasing in `L`; so Newton's method on all three, from the smallest `L`,
raises `L` in each step, and ends after finitely many.
"""

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import Result, batch_shape, define
from optlayers.autograd.primal import primal

_MOST_STEPS = 200


def thresholds(v: Tensor, count: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return `b` and ``a - b``, ``(*batch,)``, with no derivative; where `v` is inside the set, infinity and 0.

    The count is from 1 to n, not necessarily whole.
    """
    return _operator(primal(v), primal(count), primal(total))


def _thresholds(v: Tensor, count: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    batch = batch_shape((v, count, total), (1, 0, 0))
    v = v.expand(*batch, v.shape[-1]).reshape(-1, v.shape[-1])
    k, r = (t.to(v.dtype).expand(batch).reshape(-1, 1) for t in (count, total))
    high, low = _neighbours(v, k)
    v, gap = v - high, high - low  # from here on, all levels are relative to `high`
    buffer = torch.empty_like(v)
    width = (torch.clamp(v, min=0, out=buffer).sum(-1, keepdim=True) - (r - k * high)) / k
    outside, apart = width >= 0, width < gap
    # where the k largest may all move by `width` and stay the largest, any thresholds between do
    middle = torch.where(gap.isinf(), -1 - high.abs() - 2 * width, -gap / 2)
    a, b = torch.where(apart, middle + width / 2, 0.0), torch.where(apart, middle - width / 2, -gap)
    done = apart | ~outside | (width == 0)
    seen: list[Tensor] = []  # counts that come back: no level is higher but for rounding
    for _ in range(_MOST_STEPS):
        (above_a, p), (above_b, q) = _above(v, a, buffer), _above(v, b, buffer, or_equal=True)
        counts = torch.stack([p, q])
        done = torch.stack([done, *((counts == old).all(0) for old in seen)]).any(0)
        if bool(done.all()):
            break
        seen.append(counts)
        # tangents of Q: its slopes are k - p > 0 at a, and k - q < 0 at b
        first, second = k * b + above_a - (r - k * high), k * (a - b) + above_a - above_b
        up = ((q - k) * first - k * second) / (p * (q - k) + k * (k - p))
        down = (second + (k - p) * up) / (q - k)
        a, b = torch.where(done, a, (a + up).clamp_min(0)), torch.where(done, b, (b - down).minimum(-gap))
    low, width = torch.where(outside, b + high, torch.inf), torch.where(outside, a - b, 0.0)
    return low.reshape(batch), width.reshape(batch)


def _neighbours(v: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the minimisers of `Q`: for whole `k` the k-th largest entry and the next one, else one entry twice."""
    n, rank = v.shape[-1], k.floor().long() + 1
    if bool((rank == rank[0]).all()):
        largest = v.topk(min(int(rank[0]), n), -1, sorted=False).values
        last = largest.topk(min(2, largest.shape[-1]), -1, largest=False).values
    else:
        index = torch.cat([rank - 1, rank - 2], -1).clamp(0, n - 1)
        last = v.sort(-1, descending=True).values.gather(-1, index)
    full, whole = rank > n, k == k.floor()
    high = torch.where(whole & ~full, last[:, -1:], last[:, :1])
    return high, torch.where(full, -torch.inf, last[:, :1])


def _above(v: Tensor, s: Tensor, buffer: Tensor, *, or_equal: bool = False) -> tuple[Tensor, Tensor]:
    """Return ``P(s)``, and how many entries are above `s` (or equal to it)."""
    total = torch.sub(v, s, out=buffer).clamp_(min=0).sum(-1, keepdim=True)
    if not or_equal:
        return total, buffer.sign_().sum(-1, keepdim=True)
    below = torch.sub(v, s, out=buffer).clamp_(max=0).sign_().sum(-1, keepdim=True)
    return total, v.shape[-1] + below


def _results(n: int) -> list[Result]:
    return [((), None), ((), None)]


_operator = define("largest_thresholds", {"v": 1, "count": 0, "total": 0}, _thresholds, _results)
