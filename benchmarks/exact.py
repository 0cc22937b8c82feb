"""Projections to machine precision, one point at a time, each by a method of its own: references for the benchmark.

They share nothing with the library and know the kind of their set; slow, in numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from qp_solvers import clarabel_raw
from scipy.optimize import root_scalar
from scipy.special import rel_entr, wrightomega

_ROUNDING = 1e-11  # of slacks and multipliers, relative to the data
_CHANGES = 50  # of the active set, at most


@dataclass(frozen=True)
class Polyhedron:
    """``{x : A x = b, G x <= h}``, as dense matrices."""

    A: np.ndarray
    b: np.ndarray
    G: np.ndarray
    h: np.ndarray


@dataclass(frozen=True)
class Face:
    """The projection onto a polyhedron, and the face it lies on.

    Attributes
    ----------
    x : ndarray, shape (n,)
    active : ndarray of bool
        Which inequalities hold the point.
    normals : ndarray, shape (n, k)
        An orthonormal basis of the normals of the active rows, equalities included.
    error : float
        A bound on the error of `x`.
    """

    x: np.ndarray
    active: np.ndarray = field(repr=False)
    normals: np.ndarray = field(repr=False)
    error: float


def polyhedron(rows: Polyhedron, v: np.ndarray, guess: np.ndarray | None = None) -> Face | None:
    """Correct the active set, guessed or Clarabel's, until the conditions of optimality hold; None where it cycles."""
    active = _clarabel_active(rows, v) if guess is None else guess
    tolerance = _ROUNDING * max(1.0, float(np.abs(v).max()), float(np.abs(rows.h).max(initial=0)))
    for _ in range(_CHANGES):
        normals = np.vstack([rows.A, rows.G[active]])
        right = np.concatenate([rows.b, rows.h[active]])
        if len(right) > len(v):
            break
        # the nearest point of {N x = r}: with N' = Q R, x = v - Q (Q'v - R'^-1 r), and R y = Q'(v - x) for multipliers
        Q, R = np.linalg.qr(normals.T)
        x = v - Q @ (Q.T @ v - scipy.linalg.solve_triangular(R.T, right, lower=True))
        y = scipy.linalg.solve_triangular(R, Q.T @ (v - x))[len(rows.b) :]
        wrong = rows.G @ x - rows.h > tolerance
        wrong[np.flatnonzero(active)[y < -tolerance]] = True
        if not wrong.any():
            # on the right active set the error is the pseudoinverse of N times the residual of its rows
            residual, smallest = np.linalg.norm(normals @ x - right), np.linalg.norm(R, -2)
            return Face(x, active, Q, float(residual / smallest))
        active = active ^ wrong
    return None if guess is None else polyhedron(rows, v)


def _clarabel_active(rows: Polyhedron, v: np.ndarray) -> np.ndarray:
    _, slack, multiplier = clarabel_raw(sp.csc_matrix(rows.A), rows.b, sp.csc_matrix(rows.G), rows.h, v, 1e-12)
    return multiplier > slack


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(root_scalar(function, bracket=(low, high), method="brentq", xtol=1e-15, rtol=1e-15).root)


def l1_ball(v: np.ndarray, radius: float) -> np.ndarray:
    """Soft thresholding, the threshold from the sorted magnitudes (Duchi et al., 2008)."""
    descending = np.sort(np.abs(v))[::-1]
    thresholds = (np.cumsum(descending) - radius) / np.arange(1, len(v) + 1)
    threshold = max(0.0, thresholds[np.flatnonzero(descending > thresholds)[-1]])
    return np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0)


def nuclear_ball(v: np.ndarray, radius: float) -> np.ndarray:
    """Nuclear-norm ball with zero row sums: singular values in the L1 ball, in a basis of ``{X : X 1 = 0}``."""
    basis = scipy.linalg.null_space(np.ones((1, v.shape[1])))
    U, s, Vt = np.linalg.svd(v @ basis, full_matrices=False)
    return (U * l1_ball(s, radius)) @ Vt @ basis.T


def correlation_matrix(v: np.ndarray) -> np.ndarray:
    """Semismooth Newton on the dual (Qi and Sun, 2006): ``X = P(V + diag(y))`` on the positive semidefinite cone."""
    v = (v + v.T) / 2
    y = 1 - np.diag(v)
    for _ in range(100):
        values, U = np.linalg.eigh(v + np.diag(y))
        kept = np.maximum(values, 0.0)
        X = (U * kept) @ U.T
        gap = np.diag(X) - 1
        if np.abs(gap).max() < 1e-14 * len(v):
            return X
        spread = np.subtract.outer(values, values)
        equal = np.abs(spread) < 1e-12
        slopes = np.where(equal, values > 0, np.subtract.outer(kept, kept) / np.where(equal, 1.0, spread))
        pairs = (U[:, :, None] * U[:, None, :]).reshape(len(v), -1)  # diag(X)' is sum_kl U_ik U_il slopes_kl U_jk U_jl
        y = y - np.linalg.solve(pairs * slopes.reshape(-1) @ pairs.T + 1e-15 * np.eye(len(v)), gap)
    return np.full_like(v, np.nan)


def relative_entropy_ball(v: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """``{x : sum x log(x / centre) <= radius, sum x = 1}``: two multipliers, one root within the other."""

    def at(log_m: float) -> np.ndarray:
        # x - v + m (log(x / c) + 1) + t = 0 gives x = m W(exp((v - t) / m - 1) c / m); the sum is convex and falls
        # in t, so Newton from a t where one entry is 1 does not overshoot
        m = np.exp(log_m)
        t = float(np.max(v - m * (1 - np.log(centre)) - 1))
        for _ in range(100):
            w = wrightomega((v - t) / m - 1 + np.log(centre / m))
            step = (m * w.sum() - 1) / (w / (1 + w)).sum()
            t += step
            if abs(step) < 1e-16 * (1 + abs(t)):
                break
        return m * wrightomega((v - t) / m - 1 + np.log(centre / m))

    def excess(log_m: float) -> float:
        return float(rel_entr(at(log_m), centre).sum() - radius)

    low, high = np.log(1e-6), np.log(1e6)
    return at(low if excess(low) <= 0 else _root(excess, low, high))


def ball_and_rows(v: np.ndarray, axes: np.ndarray, radius: float, rows: Polyhedron) -> np.ndarray:
    """``{x : ||axes x|| <= radius} and rows``: the multiplier m of the ball by bisection, a polyhedron for each m."""
    guess: np.ndarray | None = None

    def at(m: float) -> np.ndarray:
        # minimise 1/2 ||x - v||^2 + m/2 ||axes x||^2: with I + m axes'axes = L L', u = L'x is the projection of L^-1 v
        nonlocal guess
        inverse = np.linalg.inv(np.linalg.cholesky(np.eye(len(v)) + m * axes.T @ axes))
        face = polyhedron(Polyhedron(rows.A @ inverse.T, rows.b, rows.G @ inverse.T, rows.h), inverse @ v, guess)
        if face is None:
            return np.full_like(v, np.nan)
        guess = face.active
        return inverse.T @ face.x

    def excess(m: float) -> float:
        return float(np.linalg.norm(axes @ at(m)) - radius)

    if excess(0.0) <= 0:
        return at(0.0)
    high = 1.0
    while excess(high) > 0:
        high *= 10
    return at(_root(excess, 0.0, high))
