"""L1 balls ``{y : sum_i weights_i |y_i| <= radius}``: the projection of rows, and its derivative."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import array, given, points, run


def project(v: Tensor, weights: Tensor | None, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection, and which rows are not inside the ball.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    weights : Tensor, shape (rows or a divisor, n), or None
        Nonnegative; None for ones.
    radius : Tensor, shape (rows or a divisor,)

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor of bool, shape (rows,)
    """
    y, tight = torch.empty(v.shape, dtype=v.dtype), torch.empty(len(v), dtype=torch.bool)
    run("l1_ball", y, array(v, y), given(weights, y), array(radius, y), y, tight)
    return y, tight


def pull(gradient: Tensor, y: Tensor, tight: Tensor, weights: Tensor | None) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    On rows that are not inside the ball, entries that are not zero, or have no weight, are free: their part of the
    gradient loses its component along the signed weights.
    """
    result = torch.empty(y.shape, dtype=y.dtype)
    run("l1_ball_pull", y, points(gradient, result), y, tight, given(weights, y), result)
    return result
