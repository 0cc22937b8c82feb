"""L1 balls: ``{y : weights @ |y| <= radius}``."""

from __future__ import annotations

from torch import Tensor

from optlayers.kernels.gpu import section, section_pull
from optlayers.parametric.range import Range


def project(v: Tensor, weights: Tensor | None, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the ball, and which rows are not inside it.

    The absolute values are projected onto a section of the nonnegative orthant.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    weights : Tensor, shape (rows or a divisor, n), or None (ones)
        Nonnegative.
    radius : Tensor, shape (rows or a divisor,)

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor, shape (rows,), of bool
    """
    zero = v.new_zeros(1, 1).expand(1, v.shape[1])
    return section.project(v, weights, zero, None, Range(None, radius), absolute=True)


def pull(gradient: Tensor, y: Tensor, tight: Tensor, weights: Tensor | None) -> Tensor:
    """Return the gradient of the point: that of `y`.

    On rows that are not inside the ball, only where `y` is not zero, or has no weight, and less its component along the
    signed weights of these entries.
    """
    return section_pull.pull(gradient, y, tight, weights, None, None, absolute=True)
