"""Reference projections and gradients for the general benchmark, checked against Clarabel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cvxpy as cp
import exact
import numpy as np
from problems import Problem

_CHECKED = 4  # points of each set that Clarabel solves too
_AGREEMENT = 1e-5  # Clarabel's own error on conic sets, relative; 1e-7 to 1e-6 is usual
_STEP = 1e-6  # of central differences


@dataclass(frozen=True)
class Certified:
    """What a projection should return.

    Attributes
    ----------
    values, gradients : ndarray, shape (batch, *variable.shape)
        The projections; and the Jacobian times `weights`, the gradient of ``sum(weights * values)``. NaN where no
        certificate was found.
    """

    values: np.ndarray
    gradients: np.ndarray


def certify(problem: Problem, weights: np.ndarray) -> Certified:
    """Compute the reference for all points of a problem; `weights` has the shape of its points.

    Raises
    ------
    AssertionError
        If Clarabel does not agree.
    """
    pairs = [_reference(problem, v, w) for v, w in zip(problem.points, weights, strict=True)]
    values, gradients = (np.stack(parts) for parts in zip(*pairs, strict=True))
    if problem.polyhedron is not None:  # proved by the conditions of optimality, which Clarabel does not always reach
        return Certified(values, gradients)
    for v, x, scale in list(zip(problem.points, values, problem.scale, strict=True))[:_CHECKED]:
        difference = float(np.abs(x - _clarabel(problem, v)).max())
        if difference > _AGREEMENT * scale:
            raise AssertionError(f"the reference and Clarabel differ by {difference:.1e}")
    return Certified(values, gradients)


def _reference(problem: Problem, v: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the projection and the Jacobian times `w`."""
    if problem.polyhedron is not None:
        face = exact.polyhedron(problem.polyhedron, v)
        if face is None or face.error > problem.accuracy / 10:
            missing = np.full_like(v, np.nan)
            return missing, missing
        return face.x, w - face.normals @ (face.normals.T @ w)
    if problem.exact is None:
        raise ValueError("a problem needs a polyhedron or an exact projection")
    # the Jacobian of a projection is symmetric: its product with w is the derivative along w
    ahead, behind = (problem.exact(v + sign * _STEP * w) for sign in (1, -1))
    return problem.exact(v), (ahead - behind) / (2 * _STEP)


def _clarabel(problem: Problem, v: np.ndarray) -> np.ndarray:
    program = cp.Problem(cp.Minimize(cp.sum_squares(problem.variable - v)), problem.constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program.solve(cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return np.array(problem.variable.value)
