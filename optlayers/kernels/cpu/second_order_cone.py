"""Second-order cones ``{y : ||z||_2 <= t}``, `t` one entry of `y`, `z` the others: projection of rows, derivative."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import array, points, run


def project(v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the projection.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    head : Tensor, shape (rows or a divisor,), or None (zeros)
        Which entry is `t`.
    """
    y = torch.empty(v.shape, dtype=v.dtype)
    run("second_order_cone", y, points(v, y), _numbers(head), y)
    return y


def pull(gradient: Tensor, v: Tensor, head: Tensor | None = None) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    A point on the cone counts as one inside, a point on its polar cone as one beyond it.
    """
    result = torch.empty(v.shape, dtype=v.dtype)
    run("second_order_cone_pull", result, points(gradient, result), array(v, v), _numbers(head), result)
    return result


def _numbers(head: Tensor | None) -> Tensor | None:
    return None if head is None else head.detach().long().contiguous()
