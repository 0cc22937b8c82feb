"""Projections in extended precision, from CVXPY's conic form alone: they share no formula with the package.

CVXPY and Clarabel give ``min ½ x'Px + q'x, A x + s = b, s in K`` and a solution `x`, `s`, with duals `z`. For
``w = s - z`` Moreau's theorem says ``s = P_K(w)``, ``z = P_K(w) - w``, so that the conditions of optimality are

    P x + q + A'(P_K(w) - w) = 0,    A x + P_K(w) - b = 0.

Their residual is computed in extended precision, their Jacobian by differences and in double precision: Newton's
method then wins some seven digits a step, to the last ones.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import cvxpy as cp
import numpy as np

LONG = np.longdouble
Cone = tuple[int, Callable[[np.ndarray], np.ndarray] | None]
Curve = Callable[[np.ndarray], np.ndarray]
STEPS, ENOUGH, DIFFERENCE = 8, 1e-18, LONG(1e-9)


def project_precisely(
    constraints: list[cp.Constraint], variable: cp.Variable, v: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return ``argmin ||x - v||`` and how far it is from optimality, relative to the data; NaN or far at kinks."""
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(variable - v)), constraints)
    data, chain, _ = cast(Any, problem).get_problem_data(cp.CLARABEL)
    options = {f"tol_{name}": 1e-11 for name in ("gap_abs", "gap_rel", "feas")}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)
        start = chain.solver.solve_via_data(data, False, False, options)
        x, left = _polish(data, *(np.array(part, dtype=LONG) for part in (start.x, start.s, start.z)))
    difference = x[data["P"].diagonal() == 1]  # CVXPY's auxiliary variable for `variable - v`
    return np.asarray(v, dtype=LONG) + difference.reshape(v.shape, order="F"), left


def _polish(data: Mapping[str, Any], x: np.ndarray, s: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a better solution by Newton's method, and the residual relative to the conic form."""
    quadratic, matrix = (np.asarray(data[key].toarray(), dtype=LONG) for key in ("P", "A"))
    linear, right = (np.asarray(data[key], dtype=LONG) for key in ("c", "b"))
    dims, lengths = data["dims"], np.ones_like(right)
    rows = slice(0, dims.zero + dims.nonneg)
    lengths[rows] = np.sqrt((matrix[rows] ** 2).sum(-1))
    kept = np.isfinite(right) & (lengths > 0)  # neither infinite bounds nor rows of zeros
    lengths, zero = lengths[kept], int(kept[: dims.zero].sum())
    cones = [*_cones(dims, zero, int(kept[rows].sum()) - zero)]
    matrix, right = matrix[kept] / lengths[:, None], right[kept] / lengths
    w = s[kept] / lengths - z[kept] * lengths
    scale = max(1, np.abs(linear).max(), np.abs(right).max(initial=0))
    best, left = x, np.inf
    for _ in range(STEPS):
        s, derivative = _project(w, cones)
        gap = np.concatenate([quadratic @ x + linear + matrix.T @ (s - w), matrix @ x + s - right])
        if not np.isfinite(gap).all():
            break
        if np.abs(gap).max() < left:
            best, left = x, np.abs(gap).max()
        if left <= ENOUGH * scale:
            break
        jacobian = np.block([[quadratic, matrix.T @ (derivative - np.eye(len(w)))], [matrix, derivative]])
        if not np.isfinite(jacobian).all():
            break
        step = np.linalg.lstsq(jacobian.astype(float), gap.astype(float), rcond=1e-8)[0]
        x, w = x - step[: len(x)], w - step[len(x) :]
    return best, float(left / scale)


def _cones(dims: Any, zero: int, nonneg: int) -> Iterator[Cone]:
    """Yield the sizes of the cones in Clarabel's order, with their projections; None for the zero cone."""
    yield zero, None
    yield nonneg, lambda w: np.maximum(w, 0)
    yield from ((size, _second_order) for size in dims.soc)
    yield from ((order * (order + 1) // 2, _semidefinite) for order in dims.psd)
    yield from ((3, _exponential) for _ in range(dims.exp))
    yield from ((3, partial(_power, a=LONG(exponent))) for exponent in dims.p3d)


def _project(w: np.ndarray, cones: Sequence[Cone]) -> tuple[np.ndarray, np.ndarray]:
    """Return the projection onto the product of the cones, and its derivative."""
    s, derivative, first = np.zeros_like(w), np.zeros((len(w), len(w)), dtype=LONG), 0
    for size, project in cones:
        part = slice(first, first + size)
        if project is not None:
            s[part] = project(w[part])
            for k in range(size):
                h = DIFFERENCE * max(1, abs(w[first + k]))
                moved = w[part] + h * (np.arange(size) == k)
                derivative[part, first + k] = (project(moved) - s[part]) / h
        first += size
    return s, derivative


def _second_order(w: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.sum(w[1:] ** 2))
    if norm <= w[0]:
        return w
    if norm <= -w[0]:
        return 0 * w
    return (w[0] + norm) / 2 * np.concatenate([[1], w[1:] / norm])


def _semidefinite(w: np.ndarray) -> np.ndarray:
    """Diagonalise by Jacobi's rotations; Clarabel stacks the columns of the upper triangle, times sqrt 2 outside."""
    n = int(np.sqrt(2 * len(w)))
    columns, rows = np.tril_indices(n)
    weight = np.where(rows == columns, LONG(1), np.sqrt(LONG(2)))
    matrix = np.zeros((n, n), dtype=LONG)
    matrix[rows, columns] = matrix[columns, rows] = w / weight
    vectors = np.linalg.eigh(matrix.astype(float))[1].astype(LONG)
    for _ in range(2):
        vectors = vectors @ (3 * np.eye(n) - vectors.T @ vectors) / 2
    near = vectors.T @ matrix @ vectors
    for _ in range(2):
        for i in range(n):
            for j in range(i + 1, n):
                angle = np.arctan2(2 * near[i, j], near[i, i] - near[j, j]) / 2
                rotation = np.eye(n, dtype=LONG)
                rotation[[i, j], [i, j]], rotation[i, j], rotation[j, i] = np.cos(angle), -np.sin(angle), np.sin(angle)
                near, vectors = rotation.T @ near @ rotation, vectors @ rotation
    return ((vectors * np.maximum(np.diag(near), 0)) @ vectors.T)[rows, columns] * weight


def _exponential(w: np.ndarray) -> np.ndarray:
    """Project onto the closure of ``{(x, y, z) : y exp(x / y) <= z, y > 0}``."""
    x, y, z = w
    if (y > 0 and y * np.exp(x / y) <= z) or (y == 0 and x <= 0 <= z):
        return w
    if (x > 0 and x * np.exp(y / x) <= -np.e * z) or (x == 0 and y <= 0 and z <= 0):
        return 0 * w
    if x <= 0 and y <= 0:
        return np.array([x, 0, max(z, 0)], dtype=LONG)
    return _onto_rays(
        w,
        lambda t: np.array([t, 1 + 0 * t, np.exp(t)]),
        lambda t: np.array([np.exp(t), (1 - t) * np.exp(t), -1 + 0 * t]),
    )


def _power(w: np.ndarray, a: np.floating) -> np.ndarray:
    """Project onto ``{(x, y, z) : x^a y^(1-a) >= |z|, x, y >= 0}``."""
    x, y, z = w[0], w[1], abs(w[2])
    if min(x, y) >= 0 and x**a * y ** (1 - a) >= z:
        return w
    if max(x, y) <= 0 and (-x / a) ** a * (-y / (1 - a)) ** (1 - a) >= z:
        return 0 * w
    if z == 0:
        return np.array([max(x, 0), max(y, 0), 0], dtype=LONG)
    onto = _onto_rays(
        np.array([x, y, z]),
        lambda t: np.array([np.exp(t * (1 - a)), np.exp(-t * a), 1 + 0 * t]),
        lambda t: np.array([-a * np.exp(-t * (1 - a)), (a - 1) * np.exp(t * a), 1 + 0 * t]),
    )
    return onto * [1, 1, np.sign(w[2])]


def _onto_rays(w: np.ndarray, ray: Curve, normal: Curve) -> np.ndarray:
    """Return ``α ray(t)`` for the `t` with ``w = α ray(t) + β normal(t)``, where α and β are not negative."""

    def excess(t):
        return np.tensordot(w, np.cross(ray(t), normal(t), axis=0), 1)

    grid = np.linspace(LONG(-30), LONG(30), 1201)
    values, rays, normals = excess(grid), ray(grid), normal(grid)
    towards = (w @ rays > 0) & (w @ normals > 0)
    brackets = np.flatnonzero((values[1:] * values[:-1] <= 0) & towards[1:] & towards[:-1])
    if not len(brackets):
        return np.full_like(w, np.nan)
    k = brackets[0]
    low, high, rises = grid[k], grid[k + 1], values[k + 1] > values[k]
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (low, middle) if (excess(middle) > 0) == rises else (middle, high)
    direction = ray((low + high) / 2)
    return direction * (w @ direction) / (direction @ direction)
