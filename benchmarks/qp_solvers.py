"""Solvers for the projection onto ``{x : low <= A x <= high, lb <= x <= ub}``, one point at a time, for one interface.

Those of other projects are optional; all are asked for the same accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import scipy.sparse as sp

TOLERANCE = 1e-11
_TOLERANCES = ("tol_gap_abs", "tol_gap_rel", "tol_feas")  # Clarabel's


@dataclass(frozen=True)
class Rows:
    """``{x : low <= A x <= high, lb <= x <= ub}``; what is not finite is no bound."""

    A: sp.csr_matrix
    low: np.ndarray
    high: np.ndarray
    lb: np.ndarray
    ub: np.ndarray

    def violations(self, points: np.ndarray) -> np.ndarray:
        """Return the largest distance of each point ``(count, n)`` to a row's or an entry's bounds."""
        length = np.asarray(sp.linalg.norm(self.A, axis=1))
        length = np.where(length > 0, length, 1.0)
        slacks = (self.A @ points.T).T
        over = np.maximum(slacks - self.high, self.low - slacks) / length
        outside = np.maximum(points - self.ub, self.lb - points)
        return np.maximum(0.0, np.concatenate([over, outside], axis=-1).max(-1))

    def split(self) -> tuple[sp.csc_matrix, np.ndarray, sp.csc_matrix, np.ndarray]:
        """Return ``A, b, G, h`` of ``{x : A x = b, G x <= h}``: bounds are rows, and absent sides are left out."""
        stacked = sp.csr_matrix(sp.vstack([self.A, sp.eye(len(self.lb))]))
        lower, upper = np.concatenate([self.low, self.lb]), np.concatenate([self.high, self.ub])
        equal = lower == upper
        above, below = np.isfinite(upper) & ~equal, np.isfinite(lower) & ~equal
        G = sp.csc_matrix(sp.vstack([stacked[above], -stacked[below]]))
        return sp.csc_matrix(stacked[equal]), lower[equal], G, np.concatenate([upper[above], -lower[below]])


@dataclass(frozen=True)
class Answer:
    """A point, and whether the solver calls the problem solved."""

    x: np.ndarray
    solved: bool


Solve = Callable[[Rows, np.ndarray], list[Answer]]
SOLVERS: dict[str, tuple[str, Solve]] = {}


def solver(name: str, package: str) -> Callable[[Solve], Solve]:
    """Register a solver under a name, with the package it needs."""

    def register(solve: Solve) -> Solve:
        SOLVERS[name] = package, solve
        return solve

    return register


def clarabel_raw(
    A: sp.csc_matrix, b: np.ndarray, G: sp.csc_matrix, h: np.ndarray, v: np.ndarray, tolerance: float
) -> tuple[Answer, np.ndarray, np.ndarray]:
    """Project `v` onto ``{x : A x = b, G x <= h}``; return slacks and multipliers of the inequalities too."""
    clarabel = import_module("clarabel")
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    for name in _TOLERANCES:
        setattr(settings, name, tolerance)
    cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(h))]
    stacked, right = sp.vstack([A, G], format="csc"), np.concatenate([b, h])
    solution = clarabel.DefaultSolver(sp.eye(len(v), format="csc"), -v, stacked, right, cones, settings).solve()
    answer = Answer(np.array(solution.x), str(solution.status) == "Solved")
    return answer, np.array(solution.s)[len(b) :], np.array(solution.z)[len(b) :]


@solver("Clarabel", "clarabel")
def clarabel(rows: Rows, points: np.ndarray) -> list[Answer]:
    split = rows.split()
    return [clarabel_raw(*split, v, TOLERANCE)[0] for v in points]


@solver("ProxQP", "proxsuite")
def proxqp(rows: Rows, points: np.ndarray) -> list[Answer]:
    proxqp = import_module("proxsuite").proxqp
    A, b, G, h = rows.split()
    qp = proxqp.sparse.QP(points.shape[1], len(b), len(h))
    qp.settings.eps_abs, qp.settings.eps_rel = TOLERANCE, 0.0
    # without this complementarity is not tested, and answers called solved err by up to 1e-6
    qp.settings.check_duality_gap = True
    qp.settings.eps_duality_gap_abs, qp.settings.eps_duality_gap_rel = TOLERANCE, 0.0
    qp.settings.initial_guess = proxqp.InitialGuess.NO_INITIAL_GUESS
    answers = []
    for k, v in enumerate(points):
        if k == 0:
            qp.init(sp.eye(len(v), format="csc"), -v, A, b, G, np.full(len(h), -1e20), h)
        else:
            qp.update(g=-v)
        qp.solve()
        answers.append(Answer(np.array(qp.results.x), qp.results.info.status == proxqp.QPSolverOutput.PROXQP_SOLVED))
    return answers


@solver("PIQP", "piqp")
def piqp(rows: Rows, points: np.ndarray) -> list[Answer]:
    piqp = import_module("piqp")
    A, b, G, h = rows.split()
    engine = piqp.SparseSolver()
    settings = engine.settings
    settings.verbose, settings.check_duality_gap = False, True
    settings.eps_abs = settings.eps_duality_gap_abs = TOLERANCE
    settings.eps_rel = settings.eps_duality_gap_rel = TOLERANCE
    answers = []
    for k, v in enumerate(points):
        if k == 0:
            engine.setup(sp.eye(len(v), format="csc"), -v, A, b, G, np.full(len(h), -np.inf), h)
        else:
            engine.update(c=-v)
        status = engine.solve()
        answers.append(Answer(np.array(engine.result.x), status == piqp.PIQP_SOLVED))
    return answers
