"""Sections of boxes: ``{y : lower <= y <= upper, total_lower <= normal @ y <= total_upper}``."""

from __future__ import annotations

from torch import Tensor

from optlayers.kernels.gpu import section, section_pull


def project(
    v: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    total_lower: Tensor | None,
    total_upper: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the section, and on which rows the total is active.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
    normal, lower, upper : Tensor, shape (rows or a divisor, n), or None (ones, no bound, no bound)
    total_lower, total_upper : Tensor, shape (rows or a divisor,), or None
        One object for both says that the total is fixed.

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor, shape (rows,), of bool
    """
    return section.project(v, normal, lower, upper, total_lower, total_upper)


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the gradient of the point: where entries of `y` lie strictly between their bounds, that of `y`.

    On rows whose total is active, less its component along the normal of these entries.
    """
    return section_pull.pull(gradient, y, tight, normal, lower, upper)
