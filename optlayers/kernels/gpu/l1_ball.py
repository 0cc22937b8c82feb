"""L1 balls: ``{y : weights @ |y| <= radius}``."""

from torch import Tensor

from optlayers.kernels.gpu import box_section
from optlayers.parametric.range import Range


def project(v: Tensor, weights: Tensor | None, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the ball, and which rows are not inside it.

    The absolute values are projected onto a section of the nonnegative orthant.
    """
    zero = v.new_zeros(1, 1).expand(1, v.shape[1])
    return box_section.project(v, weights, zero, None, Range(None, radius), absolute=True)


def pull(gradient: Tensor, y: Tensor, active: Tensor, weights: Tensor | None) -> Tensor:
    """Return the gradient of the point: that of `y`.

    On rows that are not inside the ball, only where `y` is not zero, or has no weight, and less its component along the
    signed weights of these entries.
    """
    return box_section.pull(gradient, y, active, weights, None, None, absolute=True)
