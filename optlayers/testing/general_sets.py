"""A catalogue of sets without closed form, one function each: what the general solver is tested on."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cvxpy as cp
import numpy as np

from optlayers.testing.cases import Case

_CURVED: Mapping[str, Any] = {"accuracy": 1e-7, "repeatability": 1e-8, "is_polyhedral": False, "huge": 1e6}
_FLAT: Mapping[str, Any] = {"repeatability": 1e-10}

GENERAL_SETS: dict[str, Callable[[], Case]] = {}


def general_cases() -> Iterator[Case]:
    """Yield every case of the catalogue."""
    for make in GENERAL_SETS.values():
        yield make()


def _entry(make: Callable[[], Case]) -> Callable[[], Case]:
    GENERAL_SETS[make.__name__] = make
    return make


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@_entry
def l1_ball() -> Case:
    """An epigraph with auxiliary entries, that are eliminated or not."""
    x, radius = cp.Variable(4, name="x"), cp.Parameter(name="radius", value=1.5)
    return Case(None, "l1_ball", x, [cp.norm1(x) <= radius], [radius], "general", **_FLAT)


@_entry
def polytope() -> Case:
    """Several inequalities, bounds and an equality, all with parameters on the right."""
    x = cp.Variable(5, name="x")
    caps = cp.Parameter(3, name="caps", value=np.array([1.0, 0.5, 1.2]))
    total = cp.Parameter(name="total", value=1.5)
    constraints = [x >= -1, x <= 2, _normal(3, 5) @ x <= caps, cp.sum(x) == total]
    return Case(None, "polytope", x, constraints, [caps, total], **_FLAT)


@_entry
def degenerate_cone() -> Case:
    """Many more rows than dimensions, all tight at one vertex, which is a parameter."""
    x, apex = cp.Variable(3, name="x"), cp.Parameter(3, name="apex", value=np.array([0.5, -1.0, 0.3]))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rows = np.stack([np.cos(angles), np.sin(angles), np.full(12, 0.8)], -1)
    return Case(None, "degenerate_cone", x, [rows @ (x - apex) <= 0], [apex], **_FLAT)


@_entry
def matrix_parameter() -> Case:
    """``A x <= b`` with both sides as parameters."""
    x = cp.Variable(3, name="x")
    matrix = cp.Parameter((4, 3), name="matrix", value=_normal(4, 3, seed=1))
    limits = cp.Parameter(4, name="limits", value=np.array([1.0, 0.5, 1.5, 0.8]))
    return Case(None, "matrix_parameter", x, [matrix @ x <= limits, x >= -3], [matrix, limits], **_FLAT)


@_entry
def ball_and_polyhedron() -> Case:
    """A second-order cone that meets half-spaces, bounds and an equality."""
    x = cp.Variable(4, name="x")
    radius, cap = cp.Parameter(name="radius", value=1.5), cp.Parameter(name="cap", value=0.5)
    constraints = [cp.norm(x) <= radius, x[0] + 2 * x[1] <= cap, x >= -1, cp.sum(x) == 0.6]
    return Case(None, "ball_and_polyhedron", x, constraints, [radius, cap], **_CURVED)


@_entry
def relative_entropy_ball() -> Case:
    """Distributions near another one: exponential cones."""
    x, radius = cp.Variable(3, name="x"), cp.Parameter(name="radius", value=0.2)
    near = np.array([0.5, 0.3, 0.2])
    constraints = [cp.sum(cp.rel_entr(x, near)) <= radius, cp.sum(x) == 1]
    return Case(None, "relative_entropy_ball", x, constraints, [radius], **{**_CURVED, "huge": 1e2})


@_entry
def power_cone() -> Case:
    """Triples ``x^0.3 y^0.7 >= |z|`` below caps."""
    x, caps = cp.Variable(3, name="x"), cp.Parameter(2, name="caps", value=np.array([2.0, 1.5]))
    constraints = [cp.PowCone3D(x[0], x[1], x[2], 0.3), x[:2] <= caps]
    return Case(None, "power_cone", x, constraints, [caps], **_CURVED)


@_entry
def correlation_matrices() -> Case:
    """Positive semidefinite matrices with given diagonal."""
    x, variances = cp.Variable((3, 3), name="x", symmetric=True), cp.Parameter(3, name="variances", value=np.ones(3))
    return Case(None, "correlation_matrices", x, [x >> 0, cp.diag(x) == variances], [variances], **_CURVED)


@_entry
def nuclear_norm_ball() -> Case:
    """A semidefinite cone with auxiliary entries; it has a closed form, which is not used here."""
    x, radius = cp.Variable((2, 3), name="x"), cp.Parameter(name="radius", value=1.5)
    return Case(None, "nuclear_norm_ball", x, [cp.normNuc(x) <= radius], [radius], "general", **_CURVED)


@_entry
def two_blocks() -> Case:
    """Two alike polyhedra and a curved set in one variable."""
    x, sizes = cp.Variable(8, name="x"), cp.Parameter(2, name="sizes", value=np.array([1.0, 0.7]))
    constraints = [
        cp.norm1(x[:3]) <= sizes[0],
        cp.norm1(x[3:6]) <= sizes[1],
        cp.norm(x[6:]) <= 1,
        x[6] + 2 * x[7] <= 0.5,
    ]
    return Case(None, "two_blocks", x, constraints, [sizes], method="general", **_CURVED)
