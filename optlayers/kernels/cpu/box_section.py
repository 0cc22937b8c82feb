"""Sections of boxes, see `optlayers.sets.box_section.BoxSection`: the projection of rows, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu import section_rows, simplex_rows
from optlayers.kernels.cpu.arrays import array, bits, data, is_positive, totals
from optlayers.kernels.cpu.blocks import is_uniform
from optlayers.kernels.cpu.call import given, points, run
from optlayers.kernels.cpu.threads import over_rows
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
    target = array(y)
    source = array(v) if v.is_contiguous() else array(y.copy_(v.detach()))
    where = array(tight), np.empty(0, bool) if finite is None else array(finite)
    below = data(lower, -np.inf, target)
    limits = totals(total.lower, -np.inf), totals(total.upper, np.inf)
    if normal is None and upper is None and np.isfinite(below.sum()):
        uniform = len(below) == 1 and is_uniform(bits(below[0]))
        own = source if uniform else target
        data_of_rows = source, own, bits(own), below, uniform
        over_rows(simplex_rows.project_rows, *v.shape, *data_of_rows, *limits, target, *where)
    else:
        normals = data(normal, 1, target)
        positive = not below.any() and is_positive(normals)
        data_of_rows = source, normals, below, data(upper, np.inf, target), positive
        over_rows(section_rows.project_rows, *v.shape, *data_of_rows, *limits, target, *where)
    return y, tight


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the derivative of `project` in `v`, which is symmetric, times the gradient; arguments as for `project`.

    Entries strictly between their bounds are free: their part of the gradient loses its component along the normal
    where the total is tight. All others are zero.
    """
    result = torch.empty(y.shape, dtype=y.dtype)
    if normal is None and upper is None:
        run("simplex_pull", y, points(gradient, result), y, tight, given(lower, y), result)
    else:
        target = array(result)
        source = array(gradient) if gradient.is_contiguous() else array(result.copy_(gradient))
        below = data(lower, -np.inf, target)
        own = data(normal, 1, target), below, data(upper, np.inf, target)
        over_rows(section_rows.pull_rows, *y.shape, source, array(y), array(tight), *own, target)
    return result
