"""The nearest points of bounded total variation: ``argmin_y ||y - v||`` subject to ``sum |y[1:] - y[:-1]| <= radius``.

The blocks of equal entries and the signs of the steps between them are found in C++, by
`csrc/kernels/total_variation.cpp`.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.autograd.batched_operator import Result, batch_shape, define
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced, may_need_derivative
from optlayers.kernels.cpu.call import run
from optlayers.sets.search.pool_adjacent import block_means, settled


def nearest_of_variation(v: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest points, with all derivatives; points on the boundary take the derivative of the boundary.

    The radius is not negative.
    """
    values, starts, sign = _operator(primal(v), primal(radius))
    if not is_traced() and not may_need_derivative(v) and not may_need_derivative(radius):
        return values
    return settled(formula(v, radius, starts, sign), values)


def formula(v: Tensor, radius: Tensor, starts: Tensor, sign: Tensor) -> Tensor:
    """Return the point that is constant on blocks, and whose steps of given signs have the sum of the radius.

    With the signs `s`, the difference matrix `D` and the means `M` over blocks it is the projection of `M v` onto the
    hyperplane ``q @ y = radius``, ``q = M D' s``. Where no sign is given it is `M v`.
    """
    sign = sign.to(v.dtype)
    q = block_means(pad(sign, (1, 0)) - pad(sign, (0, 1)), starts)
    square = q.square().sum(-1, keepdim=True)
    mean = block_means(v, starts)
    excess = (q * mean).sum(-1, keepdim=True) - radius.unsqueeze(-1)
    return mean - q * (excess / torch.where(square > 0, square, 1.0))


def search(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each entry's block's first one, and the signs of the steps between blocks, else 0.

    Inside the set, each entry is a block of its own, and no step has a sign; points on the boundary count as outside.
    All data are rows in float64; the search is done on the CPU.
    """
    rows, n = v.shape
    starts, sign = torch.empty((rows, n), dtype=torch.int64), torch.empty((rows, n - 1), dtype=torch.int64)
    points = v.cpu().contiguous()
    run("total_variation", points, points, radius.cpu().contiguous(), starts, sign)
    return starts.to(v.device), sign.to(v.device)


def _total_variation(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, n = batch_shape((v, radius), (1, 0)), v.shape[-1]
    point, bound = v.expand(*batch, n).reshape(-1, n).double(), radius.expand(batch).reshape(-1).double()
    starts, sign = search(point, bound)
    values = formula(point, bound, starts, sign).to(v.dtype)
    return values.reshape(*batch, n), starts.reshape(*batch, n), sign.reshape(*batch, n - 1)


def _results(n: int) -> list[Result]:
    return [((n,), None), ((n,), torch.int64), ((n - 1,), torch.int64)]


_operator = define("total_variation", {"v": 1, "radius": 0}, _total_variation, _results)
