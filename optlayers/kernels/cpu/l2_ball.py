"""L2 balls around the origin: the projection of rows, and its derivative."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import array, points, run


def project(v: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection onto ``{y : ||y||_2 <= radius}``, and the norms of the points.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    radius : Tensor, shape (rows or a divisor,)
        A negative one counts as zero.

    Returns
    -------
    y : Tensor, shape (rows, n)
    norm : Tensor, shape (rows,)
        In double precision.
    """
    y, norm = torch.empty(v.shape, dtype=v.dtype), torch.empty(len(v), dtype=torch.float64)
    run("l2_ball", y, points(v, y), array(radius, norm), y, norm)
    return y, norm


def pull(gradient: Tensor, v: Tensor, norm: Tensor, radius: Tensor) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    A point on the sphere counts as one outside.
    """
    result = torch.empty(v.shape, dtype=v.dtype)
    run("l2_ball_pull", result, points(gradient, result), array(v, v), norm, array(radius, norm), result)
    return result
