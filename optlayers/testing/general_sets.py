"""A catalogue of sets without closed form: what the general solver is tested on."""

from collections.abc import Iterator, Mapping
from typing import Any

import cvxpy as cp
import numpy as np

from optlayers.testing.cases import Case

_CURVED: Mapping[str, Any] = {"accuracy": 1e-7, "repeatability": 1e-8, "is_polyhedral": False, "huge": 1e6}
_FLAT: Mapping[str, Any] = {"repeatability": 1e-10}


def general_cases() -> Iterator[Case]:
    """Yield every case of the catalogue."""
    yield from _polyhedra()
    yield from _curved_sets()


def _parameter(name: str, value: Any) -> cp.Parameter:
    return cp.Parameter(np.shape(value), name=name, value=np.asarray(value))


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _polyhedra() -> Iterator[Case]:
    # an epigraph with auxiliary entries, that are eliminated or not
    x, radius = cp.Variable(4, name="x"), _parameter("radius", 1.5)
    yield Case(None, "l1_ball", x, [cp.norm1(x) <= radius], [radius], "general", **_FLAT)

    # several inequalities, bounds and an equality, all with parameters on the right
    x, caps, total = cp.Variable(5, name="x"), _parameter("caps", [1.0, 0.5, 1.2]), _parameter("total", 1.5)
    constraints = [x >= -1, x <= 2, _normal(3, 5) @ x <= caps, cp.sum(x) == total]
    yield Case(None, "polytope", x, constraints, [caps, total], **_FLAT)

    # many more rows than dimensions, all active at one vertex, which is a parameter
    x, apex = cp.Variable(3, name="x"), _parameter("apex", [0.5, -1.0, 0.3])
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rows = np.stack([np.cos(angles), np.sin(angles), np.full(12, 0.8)], -1)
    yield Case(None, "degenerate_cone", x, [rows @ (x - apex) <= 0], [apex], **_FLAT)

    # A x <= b with both sides as parameters
    x, matrix = cp.Variable(3, name="x"), _parameter("matrix", _normal(4, 3, seed=1))
    limits = _parameter("limits", [1.0, 0.5, 1.5, 0.8])
    yield Case(None, "matrix_parameter", x, [matrix @ x <= limits, x >= -3], [matrix, limits], **_FLAT)


def _curved_sets() -> Iterator[Case]:
    # a second-order cone that meets half-spaces, bounds and an equality
    x, radius, cap = cp.Variable(4, name="x"), _parameter("radius", 1.5), _parameter("cap", 0.5)
    constraints = [cp.norm(x) <= radius, x[0] + 2 * x[1] <= cap, x >= -1, cp.sum(x) == 0.6]
    yield Case(None, "ball_and_polyhedron", x, constraints, [radius, cap], **_CURVED)

    # distributions near another one: exponential cones
    x, radius, near = cp.Variable(3, name="x"), _parameter("radius", 0.2), np.array([0.5, 0.3, 0.2])
    constraints = [cp.sum(cp.rel_entr(x, near)) <= radius, cp.sum(x) == 1]
    yield Case(None, "relative_entropy_ball", x, constraints, [radius], **{**_CURVED, "huge": 1e2})

    # triples x^0.3 y^0.7 >= |z| below caps
    x, caps = cp.Variable(3, name="x"), _parameter("caps", [2.0, 1.5])
    yield Case(None, "power_cone", x, [cp.PowCone3D(x[0], x[1], x[2], 0.3), x[:2] <= caps], [caps], **_CURVED)

    # positive semidefinite matrices with given diagonal
    x, variances = cp.Variable((3, 3), name="x", symmetric=True), _parameter("variances", np.ones(3))
    yield Case(None, "correlation_matrices", x, [x >> 0, cp.diag(x) == variances], [variances], **_CURVED)

    # a semidefinite cone with auxiliary entries; it has a closed form, which is not used here
    x, radius = cp.Variable((2, 3), name="x"), _parameter("radius", 1.5)
    yield Case(None, "nuclear_norm_ball", x, [cp.normNuc(x) <= radius], [radius], "general", **_CURVED)

    # two alike polyhedra and a curved set in one variable
    x, sizes = cp.Variable(8, name="x"), _parameter("sizes", [1.0, 0.7])
    polyhedra = [cp.norm1(x[:3]) <= sizes[0], cp.norm1(x[3:6]) <= sizes[1]]
    constraints = [*polyhedra, cp.norm(x[6:]) <= 1, x[6] + 2 * x[7] <= 0.5]
    yield Case(None, "two_blocks", x, constraints, [sizes], method="general", **_CURVED)
