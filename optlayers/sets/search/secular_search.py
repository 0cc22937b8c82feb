"""The root of a secular equation ``sum_i squares_i / (l_i(x)^2 m(x)) = 1`` with linear functions `l_i` and `m`.

The left side to the power -1/3 (-1/2 without `m`) is a power mean of concave functions and so concave itself: Newton's
method converges monotonically from any point left of the root where all linear functions are positive (Moré and
Sorensen, "Computing a trust region step", 1983, for the norm). A custom operator, so that its loop may look at values
inside `torch.compile` and `vmap`; it has no derivative: `newton` is differentiable, and two steps of it at the root
change nothing but carry first and second derivatives.
"""

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import define
from optlayers.autograd.primal import primal

_MOST_STEPS = 100


def newton(
    x: Tensor, squares: Tensor, slopes: Tensor, levels: Tensor, rise: Tensor | None = None, base: Tensor | None = None
) -> Tensor:
    """Return Newton's next point for ``l = levels + slopes * x`` and, unless absent, ``m = base + rise * x``.

    Parameters
    ----------
    x, rise, base : Tensor, shape (*batch,)
    squares, slopes, levels : Tensor, shape (*batch, k)
    """
    linear = levels + slopes * x.unsqueeze(-1)
    terms, speed, power = squares / linear / linear, 2 * slopes / linear, 2
    if rise is not None and base is not None:
        last = (base + rise * x).unsqueeze(-1)
        terms, speed, power = terms / last, speed + rise.unsqueeze(-1) / last, 3
    total = terms.sum(-1)
    return x + power * (total ** (1 / power) - 1) / (terms / total.unsqueeze(-1) * speed).sum(-1)


def attached_root(
    start: Tensor,
    squares: Tensor,
    slopes: Tensor,
    levels: Tensor,
    rise: Tensor | None = None,
    base: Tensor | None = None,
) -> Tensor:
    """Return the root, ``(*batch,)``, with its derivatives; `start` lies left of it. Arguments as for `newton`."""
    data = squares, slopes, levels, rise, base
    root = _operator(primal(start), *(None if t is None else primal(t) for t in data))
    unit = torch.where(root > 0, root, 1.0)  # in which no derivative over- or underflows
    slopes, rise = slopes * unit.unsqueeze(-1), None if rise is None else rise * unit
    x = root / unit
    for _ in range(2):
        x = newton(x, squares, slopes, levels, rise, base)
    return x * unit


def _secular_root(
    start: Tensor, squares: Tensor, slopes: Tensor, levels: Tensor, rise: Tensor | None, base: Tensor | None
) -> Tensor:
    x = start
    eps = torch.finfo(x.dtype).eps
    for _ in range(_MOST_STEPS):
        step = newton(x, squares, slopes, levels, rise, base) - x
        x = x + step
        if not bool((step > 4 * eps * x.abs()).any()):
            break
    return x


_operator = define(
    "secular_root", {"start": 0, "squares": 1, "slopes": 1, "levels": 1, "rise?": 0, "base?": 0}, _secular_root
)
