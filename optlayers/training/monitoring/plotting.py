"""Pictures of two- and three-dimensional sets, with the path of the training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlayers.errors import extra
from optlayers.feasible_set import FeasibleSet
from optlayers.training.monitoring.outline import Array, Outline, outline, project, within
from optlayers.training.schedules.scheduled_set import Constraints, as_scheduled_set

SET, PATH, POINTS = "#9ec3e6", "#d9730d", "#444444"


def plot_set(
    constraints: Constraints,
    *,
    points: Any = None,
    path: Any = None,
    window: tuple[Sequence[float], Sequence[float]] | None = None,
    step: int = 0,
    ax: Any = None,
) -> Any:
    """Draw a set of two or three dimensions, points and their projections, the path of a training; return the axes.

    The outline is found by projections, so it is there for every set; unbounded sets are cut off by a window.

    Parameters
    ----------
    constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet
        On one variable with 2 or 3 entries.
    points : tensor or array, shape (k, *variable.shape), optional
        Drawn with the lines to their projections.
    path : tensor, array or list of them, shape (steps, *variable.shape), optional
        Drawn as a line from a ring to a dot.
    window : (lower, upper), optional
        Corners; what is outside is cut off.
    step : int
        The step of a set that moves.
    ax : matplotlib Axes, optional
        Made if there is none; three dimensions need one with ``projection="3d"``.

    Raises
    ------
    ValueError
        If the set has not 2 or 3 entries, or the points or the axes do not fit it.
    ImportError
        If matplotlib is not installed.
    """
    scheduled_set = as_scheduled_set(constraints)
    shape, bound = scheduled_set.shape, scheduled_set.at(step)
    n = int(np.prod(shape))
    if n not in (2, 3):
        raise ValueError(f"expected a variable with 2 or 3 entries, got the shape {shape}: draw a part of it")
    dots, line = _array(points, shape, "points"), _array(path, shape, "path")
    if len(bound.project(torch.zeros(1, *shape))) != 1:
        raise ValueError("the parameters hold a batch of values, which is as many sets: bind those of one sample")
    edge = _outline(bound, np.concatenate([dots, line]), window)
    axes = _axes(ax, n)
    _draw(axes, edge, n)
    if len(dots):
        ends = project(bound, dots)
        for start, end in zip(dots, ends, strict=True):
            axes.plot(*np.stack([start, end]).T, color=POINTS, linewidth=0.8, linestyle=":")
        axes.plot(*dots.T, "o", color=POINTS, markersize=4, markerfacecolor="white", label="points")
        axes.plot(*ends.T, "o", color=POINTS, markersize=4, label="projected")
    if len(line):
        axes.plot(*line.T, color=PATH, linewidth=1.2, label="path")
        axes.plot(*line[:1].T, "o", color=PATH, markersize=6, markerfacecolor="white")
        axes.plot(*line[-1:].T, "o", color=PATH, markersize=6)
    if n == 2:
        axes.set_aspect("equal", adjustable="datalim")
    return axes


def _array(points: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return points ``(k, n)`` in double precision, none for None."""
    points = [] if points is None else points
    rows = [np.asarray(row.detach().cpu() if isinstance(row, Tensor) else row, float) for row in points]
    array = np.stack(rows) if rows else np.empty((0, *shape))
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape:
        raise ValueError(f"{name}: expected the shape (k, {', '.join(map(str, shape))}), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return array.reshape(len(array), int(np.prod(shape)))


def _outline(bound: FeasibleSet, near: Array, window: tuple[Sequence[float], Sequence[float]] | None) -> Outline:
    """Return the outline of the set, in a window if one is given or needed."""
    n = bound.variables[0].size
    if window is not None:
        lower, upper = (np.broadcast_to(np.asarray(edge, float), (n,)) for edge in window)
        if not (lower < upper).all():
            raise ValueError(f"window: expected lower < upper, got {lower} and {upper}")
    else:
        whole = outline(bound)
        if whole is not None:
            return whole
        near = np.concatenate([near, project(bound, np.concatenate([near, np.zeros((1, n))]))])
        half = max(1.0, float(np.ptp(near, axis=0).max()))
        middle = (near.min(0) + near.max(0)) / 2
        lower, upper = middle - half, middle + half
    part = outline(within(bound, lower, upper))
    assert part is not None, "what is in a window is bounded"
    return part


def _axes(ax: Any, n: int) -> Any:
    """Return axes of `n` dimensions."""
    with extra("plot"):
        import matplotlib.pyplot as plt
    if ax is None:
        return plt.figure().add_subplot(projection="3d" if n == 3 else None)
    if (ax.name == "3d") != (n == 3):
        make = "with" if n == 3 else "without"
        raise ValueError(f'the set has {n} dimensions, the axes do not: make them {make} projection="3d"')
    return ax


def _draw(axes: Any, edge: Outline, n: int) -> None:
    """Draw the outline, as what it is: a point, a segment, a filled polygon, or a surface."""
    vertices = edge.vertices
    if edge.dimension < 2:
        axes.plot(*vertices.T, color=SET, linewidth=3, marker="o" if edge.dimension == 0 else None, label="set")
    elif n == 2:
        axes.fill(*vertices.T, facecolor=SET, edgecolor="#1f5fa8", alpha=0.5, label="set")
    else:
        from mpl_toolkits.mplot3d.art3d import Poly3DCollection

        faces = [vertices] if edge.faces is None else vertices[edge.faces]
        edges = "#1f5fa8" if len(faces) <= 40 else "none"
        axes.add_collection3d(Poly3DCollection(faces, facecolor=SET, edgecolor=edges, alpha=0.35, label="set"))
        axes.auto_scale_xyz(*vertices.T)
