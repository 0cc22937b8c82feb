"""Sections of boxes: ``{y : lower <= y <= upper, normal @ y in total}``."""

from __future__ import annotations

from torch import Tensor

from optlayers.kernels.gpu import section, section_pull
from optlayers.parametric.range import Range


def project(
    v: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    total: Range[Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the section, and on which rows the total is active.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    normal, lower, upper : Tensor, shape (rows or a divisor, n), or None (ones, no bound, no bound)
    total : Range of Tensor, shape (rows or a divisor,)

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor, shape (rows,), of bool
    """
    return section.project(v, normal, lower, upper, total)


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the gradient of the point: where entries of `y` lie strictly between their bounds, that of `y`.

    On rows whose total is active, less its component along the normal of these entries.
    """
    return section_pull.pull(gradient, y, tight, normal, lower, upper)
