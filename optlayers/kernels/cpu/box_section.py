"""Sections of boxes, see `optlayers.sets.box_section.BoxSection`: the projection of rows, and its derivative."""

import torch
from torch import Tensor

from optlayers.kernels.cpu.call import given, points, run
from optlayers.parametric.range import Range


def project(
    v: Tensor,
    normal: Tensor | None,
    lower: Tensor | None,
    upper: Tensor | None,
    total: Range[Tensor],
    out: Tensor | None = None,
    finite: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the projection, and whether the total is at its bound.

    Parameters
    ----------
    v : Tensor, shape (rows, n)
        In single or double precision.
    normal, lower, upper : Tensor, shape (rows or a divisor, n), or None
        Several rows of data take turns.
    total : Range of Tensor, shape (rows or a divisor,)
    out : Tensor, shape (rows, n), optional
        Contiguous; where `y` goes, which may be `v`.
    finite : Tensor of bool, shape (rows,), optional
        Gets which rows of `v` have a finite sum; others are left out.

    Returns
    -------
    y : Tensor, shape (rows, n)
    tight : Tensor of bool, shape (rows,)
    """
    y = torch.empty(v.shape, dtype=v.dtype) if out is None else out
    tight = torch.empty(len(v), dtype=torch.bool)
    data = [given(t, y) for t in (normal, lower, upper, total.lower, total.upper)]
    run("box_section", y, points(v, y), *data, y, tight, finite)
    return y, tight


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    Entries strictly between their bounds are free: their part of the gradient loses its component along the normal
    where the total is tight. All others are zero.
    """
    result = torch.empty(y.shape, dtype=y.dtype)
    data = [given(t, y) for t in (normal, lower, upper)]
    run("box_section_pull", y, points(gradient, result), y, tight, *data, result)
    return result
