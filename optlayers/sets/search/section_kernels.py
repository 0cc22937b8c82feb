"""Sections of boxes by fused kernels, where these serve."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optlayers.kernels.fused import rows_of
from optlayers.kernels.operator import define_projection
from optlayers.parametric.range import Range, clamp
from optlayers.sets.search.section_search import stored_free_mask

Section = tuple[Tensor | None, Tensor | None, Tensor | None]  # normal, lower, upper


def project_fused(v: Tensor, section: Section, total: Range[Tensor]) -> Tensor | None:
    """Return the projection with its derivatives; None where the plain form has to serve; see `BoxSection`."""
    rows = rows_of("box_section", v, *section, numbers=total.bounds)
    if rows is None:
        return None
    y, tight = rows.kernels.project(rows.points, *rows.vectors, total.with_bounds(rows.numbers))

    def formula(gradient: Tensor, y: Tensor, tight: Tensor) -> Tensor:
        return pull(gradient, y, tight, *section)

    return rows.answer(y, formula, (y, tight), rows.vectors)


def define_operators(plain: Callable[[Tensor, Section, Range[Tensor]], Tensor]) -> Callable[..., Tensor]:
    """Return the projection for compiled graphs, by kernels or else by the plain form; arguments as for `plain`."""

    def run(v: Tensor, section: Section, total: Range[Tensor]) -> tuple[Tensor, Tensor]:
        rows = rows_of("box_section", v, *section, numbers=total.bounds)
        if rows is None:
            return plain(v, section, total), ~total.surrounds(_clamped_total(v, section))
        y, tight = rows.kernels.project(rows.points, *rows.vectors, total.with_bounds(rows.numbers))
        return rows.batched(y), rows.batched(tight)

    def define(name: str, numbers: dict[str, int], make_range: Callable[..., Range[Any]]) -> Callable[..., Any]:
        vectors = {"normal?": 1, "lower?": 1, "upper?": 1}
        project = lambda v, *data: run(v, data[:3], make_range(*data[3:]))  # noqa: E731
        return define_projection("box_section", name, {**vectors, **numbers}, 3, project, pull)

    fixed = define("section", {"total": 0}, Range.fixed)
    ranged = define("ranged_section", {"total_lower?": 0, "total_upper?": 0}, Range)

    def projection(v: Tensor, section: Section, total: Range[Tensor]) -> Tensor:
        if total.is_fixed:
            return fixed(v, *section, total.value)[0]
        return ranged(v, *section, total.lower, total.upper)[0]

    return projection


def _clamped_total(v: Tensor, section: Section) -> Tensor:
    """Return the total of the points' projection onto the box."""
    normal, lower, upper = section
    inside = clamp(v, lower, upper)
    return (inside if normal is None else normal * inside).sum(-1)


def project_in_place(v: Tensor, section: Section, total: Range[Tensor]) -> bool:
    """Replace points by their projections; see `ClosedFormSet.project_`."""
    rows = rows_of("box_section", v, *section, numbers=total.bounds) if v.device.type == "cpu" else None
    if rows is None or not v.is_contiguous() or rows.leaf.data_ptr() != v.data_ptr():
        return False
    finite = torch.empty(len(rows.points), dtype=torch.bool)
    rows.kernels.project(rows.points, *rows.vectors, total.with_bounds(rows.numbers), out=rows.points, finite=finite)
    return bool(finite.all())


def pull(
    gradient: Tensor, y: Tensor, tight: Tensor, normal: Tensor | None, lower: Tensor | None, upper: Tensor | None
) -> Tensor:
    """Return the derivative of the projection `y`, which is symmetric, times the gradient.

    `tight` says, ``(*batch,)``, whether the total is at its bound.
    """
    free = stored_free_mask(y, lower, upper).to(gradient.dtype)
    return free * gradient - along(gradient, free if normal is None else free * normal, tight)


def along(gradient: Tensor, direction: Tensor, where: Tensor) -> Tensor:
    """Return the gradient's component along a direction, which may be zero; zeros for all other samples."""
    square = direction.square().sum(-1, keepdim=True)
    product = (direction * gradient).sum(-1, keepdim=True)
    some = square > 0
    return torch.where(where.unsqueeze(-1) & some, product / torch.where(some, square, 1.0), 0.0) * direction
