"""The sets and points of the general benchmark: random dense polyhedra, and conic sets without a closed form.

Each problem is a function of `quick` (tiny sizes, to try the benchmark itself), registered under its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import exact
import numpy as np
import torch
from exact import Polyhedron
from torch import Tensor

POLYHEDRON, CONIC = 1e-9, 1e-7  # the accuracy promised for each, relative to the scale of the data


@dataclass(frozen=True)
class Problem:
    """A set and the points to project onto it.

    Attributes
    ----------
    points : ndarray, shape (batch, *variable.shape)
    accuracy : float
        Up to which error, relative to `scale`, a sample counts as solved.
    polyhedron : Polyhedron, optional
        The same set as matrices, for the peers that take quadratic programmes only.
    exact : callable, optional
        The projection of one point to machine precision: the reference, for sets that are no polyhedra.
    """

    constraints: list[Any]
    variable: cp.Variable
    points: np.ndarray
    accuracy: float = CONIC
    polyhedron: Polyhedron | None = None
    exact: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def scale(self) -> np.ndarray:
        """The size of each sample's data, shape (batch,)."""
        return np.maximum(1.0, np.abs(self.points.reshape(len(self.points), -1)).max(-1))

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.points).requires_grad_()


Make = Callable[[bool], Problem]
PROBLEMS: dict[str, Make] = {}


def problem(name: str) -> Callable[[Make], Make]:
    """Register a problem under a name."""

    def register(make: Make) -> Make:
        PROBLEMS[name] = make
        return make

    return register


def _random_rows(rng: np.random.Generator, n: int, inequalities: int, equalities: int) -> tuple[Polyhedron, np.ndarray]:
    """Return Gaussian rows around a feasible point, and that point."""
    inside = rng.normal(size=n)
    A, G = rng.normal(size=(equalities, n)), rng.normal(size=(inequalities, n))
    return Polyhedron(A, A @ inside, G, G @ inside + rng.uniform(size=inequalities)), inside


def _polyhedron(n: int, inequalities: int, equalities: int, batch: int) -> Make:
    def make(quick: bool) -> Problem:
        rng = np.random.default_rng(0)
        sizes = (
            (max(1, size // 10) for size in (n, inequalities, equalities)) if quick else (n, inequalities, equalities)
        )
        rows, inside = _random_rows(rng, *sizes)
        x = cp.Variable(inside.size)
        points = inside + 3 * rng.normal(size=(min(batch, 8) if quick else batch, inside.size))
        return Problem([rows.A @ x == rows.b, rows.G @ x <= rows.h], x, points, POLYHEDRON, rows)

    return make


for _sizes in (
    (100, 50, 50, 128),
    (100, 50, 50, 512),
    (50, 50, 10, 128),
    (100, 100, 50, 128),
    (200, 200, 50, 128),
    (100, 400, 10, 128),
    (100, 50, 50, 1),
    (50, 50, 10, 4096),
):
    problem("polyhedron {}/{}/{}, batch {}".format(*_sizes))(_polyhedron(*_sizes))


@problem("L1 ball, n = 100, batch 128")
def l1_ball(quick: bool) -> Problem:
    n, batch = (10, 8) if quick else (100, 128)
    radius = n / 10
    x = cp.Variable(n)
    points = 3 * np.random.default_rng(1).normal(size=(batch, n))
    return Problem([cp.norm1(x) <= radius], x, points, POLYHEDRON, exact=partial(exact.l1_ball, radius=radius))


@problem("second-order cone meets polyhedron, n = 50, batch 128")
def ball_and_rows(quick: bool) -> Problem:
    n, batch = (10, 8) if quick else (50, 128)
    rng = np.random.default_rng(2)
    rows, inside = _random_rows(rng, n, n // 2, n // 5)
    x = cp.Variable(n)
    axes = rng.normal(size=(n, n)) / np.sqrt(n)
    radius = 1.0 + float(np.linalg.norm(axes @ inside))
    constraints = [cp.norm(axes @ x) <= radius, rows.G @ x <= rows.h, rows.A @ x == rows.b]
    reference = partial(exact.ball_and_rows, axes=axes, radius=radius, rows=rows)
    return Problem(constraints, x, inside + 3 * rng.normal(size=(batch, n)), exact=reference)


@problem("relative-entropy ball in the simplex, n = 20, batch 64")
def relative_entropy_ball(quick: bool) -> Problem:
    n, batch = (5, 4) if quick else (20, 64)
    rng = np.random.default_rng(3)
    x, centre = cp.Variable(n), rng.dirichlet(np.full(n, 5.0))
    constraints = [cp.sum(cp.rel_entr(x, centre)) <= 0.1, cp.sum(x) == 1]
    reference = partial(exact.relative_entropy_ball, centre=centre, radius=0.1)
    return Problem(constraints, x, centre + 0.3 * rng.normal(size=(batch, n)), exact=reference)


@problem("correlation matrices, 30 x 30, batch 16")
def correlation_matrices(quick: bool) -> Problem:
    n, batch = (5, 3) if quick else (30, 16)
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(batch, n, n // 2))
    points = factors @ factors.transpose(0, 2, 1) / (n // 2) + 0.3 * rng.normal(size=(batch, n, n))
    X = cp.Variable((n, n))
    points = (points + points.transpose(0, 2, 1)) / 2
    return Problem([X == X.T, X >> 0, cp.diag(X) == 1], X, points, exact=exact.correlation_matrix)


@problem("nuclear-norm ball with zero row sums, 12 x 8, batch 16")
def nuclear_ball(quick: bool) -> Problem:
    shape, batch = ((4, 3), 3) if quick else ((12, 8), 16)
    X = cp.Variable(shape)
    points = np.random.default_rng(5).normal(size=(batch, *shape))
    return Problem(
        [cp.normNuc(X) <= 4, cp.sum(X, axis=1) == 0], X, points, exact=partial(exact.nuclear_ball, radius=4.0)
    )
