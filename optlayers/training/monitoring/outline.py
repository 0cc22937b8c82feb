"""The outline of a two- or three-dimensional convex set, from projections alone."""

import itertools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from optlayers.feasible_set import FeasibleSet

Array = NDArray[np.float64]


class Outline(NamedTuple):
    """A polytope inside a set, with its vertices ``(k, n)`` on the boundary of the set.

    The `dimension` is that of the affine hull of the set: 0 for a point, 1 for a segment, then 2 or 3. Vertices of an
    outline of dimension 2 are in order around it; `faces`, of dimension 3, are triangles of vertices.
    """

    vertices: Array
    dimension: int
    faces: NDArray[np.integer] | None = None


def outline(bound: FeasibleSet, rtol: float = 2e-3, limit: int = 4000) -> Outline | None:
    """Return the outline of a set, None for an unbounded one.

    Points far out in a direction project to the point that is furthest in it. Starting from a few directions, the
    normal of each face of the hull of the points so far is the next direction, until no face gains more than `rtol`
    times the width in its direction (the sandwich algorithm: Rote, "The convergence rate of the sandwich algorithm for
    approximating convex functions", 1992). For polytopes that ends with their vertices.
    """
    n = bound.variables[0].size
    directions = np.array([d for d in itertools.product((-1.0, 0.0, 1.0), repeat=n) if any(d)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    center = project(bound, np.zeros((1, n)))[0]
    for radius in 10.0 ** np.arange(7):
        size = np.abs(project(bound, center + radius * directions) - center).max()
        if size < 0.1 * radius:
            break
    else:
        return None
    far = 1e3 * max(float(size), 1e-9)
    points = project(bound, center + far * directions)
    origin, basis, points = _span(bound, points, far)
    dimension = basis.shape[1]
    if dimension < 2:
        along = ((points - origin) @ basis).sum(1)
        return Outline(points[list(dict.fromkeys([along.argmin(), along.argmax()]))], dimension)
    while True:
        flat = (points - origin) @ basis
        hull = ConvexHull(flat)
        normals = np.unique(hull.equations.round(9), axis=0)
        candidates = project(bound, origin + far * normals[:, :-1] @ basis.T)
        gain = (((candidates - origin) @ basis) * normals[:, :-1]).sum(1) + normals[:, -1]
        new = candidates[gain > rtol * np.ptp(flat @ normals[:, :-1].T, axis=0)]
        if not len(new) or len(hull.vertices) + len(new) > limit:
            break
        points = np.concatenate([points[hull.vertices], new])
    if dimension == 2:
        return Outline(points[hull.vertices], 2)
    return Outline(points, 3, hull.simplices)


def _span(bound: FeasibleSet, points: Array, far: float) -> tuple[Array, Array, Array]:
    """Return a point of the affine hull, an orthonormal basis of it ``(n, dimension)``, and points that span it."""
    while True:
        origin = points.mean(0)
        _, sizes, axes = np.linalg.svd(points - origin)
        rank = int((sizes > 1e-7 * max(1e-12, sizes.max(), np.abs(origin).max())).sum())
        others = axes[rank:]
        if not len(others):
            return origin, axes.T, points
        more = project(bound, origin + far * np.concatenate([others, -others]))
        if np.abs((more - origin) @ others.T).max() <= 1e-6 * max(sizes.max(), np.abs(origin).max()):
            return origin, axes[:rank].T, points
        points = np.concatenate([points, more])


def project(bound: FeasibleSet, points: Array) -> Array:
    """Project points ``(k, n)``, in double precision."""
    shape = bound.variables[0].shape
    with torch.no_grad():
        nearest = bound.project(torch.from_numpy(np.ascontiguousarray(points)).reshape(-1, *shape))
    return nearest.reshape(len(points), -1).numpy()


def within(bound: FeasibleSet, lower: Array, upper: Array) -> FeasibleSet:
    """Return the part of a set in a window."""
    (variable,) = bound.variables
    edges = [variable >= lower.reshape(variable.shape), variable <= upper.reshape(variable.shape)]
    part = FeasibleSet([*bound.constraints, *edges], variable, bound.parameters)
    return part.bind_like(bound)
