"""What CVXPY and Clarabel say of a set, without the package: far points, support functions, least violations."""

import warnings
from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.constraints.nonpos import Inequality
from cvxpy.constraints.zero import Equality

_OPTIONS = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def minimise(objective: Any, constraints: Sequence[cp.Constraint]) -> cp.Problem:
    """Return the solved problem; Clarabel stops a little short of the tolerances, and says so."""
    problem = cp.Problem(cp.Minimize(objective), list(constraints))
    solve(problem)
    return problem


def solve(problem: cp.Problem) -> None:
    """Solve as accurately as Clarabel does; raises cvxpy.SolverError if it fails at its default tolerances too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            problem.solve(cp.CLARABEL, **_OPTIONS)
        except cp.SolverError:
            problem.solve(cp.CLARABEL)


def affine_rows(expressions: Sequence[Any], x: cp.Variable) -> tuple[np.ndarray, np.ndarray]:
    """Return `A`, `b` with ``A x + b`` the entries of affine expressions; `x` is flattened in C order."""
    if not expressions:
        return np.zeros((0, x.size)), np.zeros(0)

    def values(point: np.ndarray) -> np.ndarray:
        x.save_value(point.reshape(x.shape))
        return np.concatenate([np.ravel(expression.value) for expression in expressions])

    origin = values(np.zeros(x.size))
    with np.errstate(invalid="ignore"):  # infinite bounds
        return np.stack([values(unit) - origin for unit in np.eye(x.size)], -1), origin


def farthest_points(constraints: Sequence[cp.Constraint], x: cp.Variable, directions: np.ndarray) -> np.ndarray:
    """Return feasible points ``(count, *shape)`` near the boundary.

    They are the farthest ones in each direction, within a distance of 10 if the set is not bounded, moved a little
    towards their mean, and onto the equalities.
    """
    minimise(cp.sum_squares(x), constraints)
    center, support, reached = np.asarray(x.value), Support(constraints, x), []
    for direction in directions:
        assert support(center, direction, 10.0) is not None, "Clarabel fails"
        reached.append(np.ravel(np.asarray(x.value)))
    points = np.array(reached)
    points += 1e-6 * (points.mean(0) - points)
    matrix, offset = affine_rows([c.expr for c in constraints if isinstance(c, Equality)], x)
    for _ in range(2):
        points -= np.linalg.lstsq(matrix, matrix @ points.T + offset[:, None], rcond=1e-10)[0].T
    return points.reshape(directions.shape)


def _number(value: Any) -> float:
    return float(value)


class Support:
    """How far a set goes on from a point in a direction, within a box of the point's size.

    Not at all just where the direction is in the normal cone.
    """

    def __init__(self, constraints: Sequence[cp.Constraint], x: cp.Variable) -> None:
        self.point, self.direction, self.size = cp.Parameter(x.shape), cp.Parameter(x.shape), cp.Parameter(nonneg=True)
        gain = cp.sum(cp.multiply(self.direction, x - self.point))
        self.problem = cp.Problem(cp.Maximize(gain), [*constraints, cp.abs(x - self.point) <= self.size])

    def __call__(self, point: np.ndarray, direction: np.ndarray, size: float | None = None) -> float | None:
        """Return the length, relative to the size of the point; directions shorter than that count less.

        The farthest point stands in the variable. None says that Clarabel failed.
        """
        size = size or max(1.0, np.abs(point).max(initial=0))
        self.point.value, self.size.value = point, size
        self.direction.value = direction / max(size, np.linalg.norm(direction))
        try:
            solve(self.problem)
        except cp.SolverError:
            return None
        return _number(self.problem.value) / size


def least_violation(
    constraints: Sequence[cp.Constraint], x: cp.Variable, y: np.ndarray, *, unit_rows: bool
) -> tuple[float, float] | None:
    """Return the squared violations at `y`, of rows of unit length or as they are, and the least that there are.

    None with curves, with ranges that cross, which meet halfway first, and with equalities of which some are dropped.
    """
    if not all(isinstance(c, (Equality, Inequality)) and c.expr.is_affine() for c in constraints):
        return None
    flat, squares, normals, offsets = cp.vec(x, order="C"), [], [], []
    for kind, measure in ((Inequality, cp.pos), (Equality, cp.abs)):
        matrix, offset = affine_rows([c.expr for c in constraints if isinstance(c, kind)], x)
        length = np.linalg.norm(matrix, axis=1)
        kept = (length > 0) & np.isfinite(offset)
        length = length[kept] if unit_rows else np.ones(kept.sum())
        matrix, offset = matrix[kept] / length[:, None], offset[kept] / length
        if kind is Equality and np.linalg.matrix_rank(matrix) < len(matrix):
            return None
        if not kept.any():
            continue
        squares.append(cp.sum_squares(measure(matrix @ flat + offset)))
        normals.append(matrix)
        offsets.append(offset)
    normal, offset = np.concatenate(normals), np.concatenate(offsets)
    length = np.linalg.norm(normal, axis=1)
    normal, offset = normal / length[:, None], offset / length
    if ((normal @ normal.T < -1 + 1e-9) & (offset[:, None] + offset > 0)).any():
        return None
    least = minimise(cp.sum(cp.hstack(squares)), []).value
    x.save_value(y)
    return sum(_number(square.value) for square in squares), _number(least)
