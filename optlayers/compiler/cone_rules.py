"""Rules about single cones: membership, and cones that are linear rows in disguise."""

import dataclasses

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import Cone
from optlayers.cones.triangle import order_of, to_matrix, triangle

_TOLERANCE = 1e-12


def _least_eigenvalue(point: np.ndarray) -> float:
    """Return the least eigenvalue of a matrix, by what is not zero of it."""
    n = order_of(len(point))
    index = np.flatnonzero(point)
    column = np.searchsorted(np.cumsum(np.arange(n, 0, -1)), index, side="right")
    row = index - column * n + column * (column + 1) // 2
    used = np.unique(np.append(row, column))
    if len(used) == n:
        return float(torch.linalg.eigvalsh(to_matrix(torch.from_numpy(point)))[0])
    if len(used) == 0:
        return 0.0
    part = np.zeros((len(used), len(used)))
    row, column = np.searchsorted(used, row), np.searchsorted(used, column)
    part[row, column] = part[column, row] = np.where(row == column, 1.0, np.sqrt(0.5)) * point[index]
    return min(float(np.linalg.eigvalsh(part)[0]), 0.0)


def depth(kind: str, alpha: float, point: np.ndarray) -> float:
    """Return a number that is positive inside the cone, zero on its boundary and negative outside."""
    if kind == "soc":
        return point[0] - float(np.linalg.norm(point[1:]))
    if kind == "psd":
        return _least_eigenvalue(point)
    x, y, z = point
    if kind == "exp":
        if y > 0:
            return z - y * float(np.exp(min(x / y, 700.0)))
        return min(-x, z, 0.0) if y == 0 else y
    if x < 0 or y < 0:
        return min(x, y)
    return x**alpha * y ** (1 - alpha) - abs(z)


def in_cone(cone: Cone, direction: np.ndarray, *, strictly: bool = False) -> bool:
    """Whether the cone contains a direction (in its interior, if `strictly`), up to rounding."""
    slack = _TOLERANCE * float(np.abs(direction).max(initial=0.0))
    value = depth(cone.kind, cone.alpha, direction)
    return value > slack if strictly else value >= -slack


def simplify(cone: Cone) -> tuple[list[Cone], list[AffineRows]] | None:
    """Rewrite a cone as smaller cones and nonnegative rows, or return None where it cannot be.

    A cone with one row that is not a fixed number bounds that row; a second-order cone of dimension two is a pair of
    inequalities; a PSD matrix splits along its sparsity.
    """
    fixed = cone.rows.is_fixed
    if fixed.all():
        value = depth(cone.kind, cone.alpha, cone.rows.offset.constant)
        return [], [cone.rows.numbers(value)]
    if cone.kind == "soc":
        return _simplify_soc(cone, fixed)
    if cone.kind == "psd":
        return _split_psd(cone)
    return _bound_of_triple(cone, fixed)


def _simplify_soc(cone: Cone, fixed: np.ndarray) -> tuple[list[Cone], list[AffineRows]] | None:
    """Fold the fixed rows of ``||tail|| <= head`` into one number, and split what is then one-dimensional."""
    rows, tail, folded = cone.rows, np.flatnonzero(~fixed[1:]) + 1, np.flatnonzero(fixed[1:]) + 1
    numbers = rows.offset.constant[folded]
    is_simple = len(folded) == 0 or (len(folded) == 1 and numbers[0] != 0)
    if is_simple and (len(tail) > 1 or (len(tail) == 1 and len(folded) == 1 and not fixed[0])):
        return None
    head = rows[:1]
    constant = float(np.linalg.norm(numbers))
    if len(tail) == 0:
        return [], [head + rows.numbers(-constant)]
    if len(tail) == 1 and (fixed[0] or constant == 0.0):
        if fixed[0]:
            top = float(rows.offset.constant[0])
            if top < constant:
                return [], [rows.numbers(top - constant)]
            head = rows.numbers(float(np.sqrt((top - constant) * (top + constant))))
        body = rows[tail]
        return [], [head + body, head + body.scaled(-1.0)]
    parts = [head, rows[tail]] + ([rows.numbers(constant)] if constant else [])
    return [dataclasses.replace(cone, rows=AffineRows.concatenate(parts))], []


def _split_psd(cone: Cone) -> tuple[list[Cone], list[AffineRows]] | None:
    """Split a matrix that is block diagonal, up to a permutation; blocks of size one are nonnegative rows."""
    n = order_of(len(cone.rows))
    row, column = triangle(n)
    occupied = np.diff(cone.rows.data.indptr) > 0
    graph = sp.coo_array((np.ones(occupied.sum()), (row[occupied], column[occupied])), shape=(n, n))
    count, component = connected_components(graph, directed=False)
    if count == 1 and n > 1:
        return None
    cones, rows = [], []
    for k in range(count):
        part = cone.rows[(component[row] == k) & (component[column] == k)]
        if len(part) == 1:
            rows.append(part)
        else:
            cones.append(dataclasses.replace(cone, rows=part))
    return cones, rows


def _bound_of_triple(cone: Cone, fixed: np.ndarray) -> tuple[list[Cone], list[AffineRows]] | None:
    """Turn an exponential or power cone into the bound on its only row that is not a number."""
    if fixed.sum() != 2:
        return None
    free = int(np.flatnonzero(~fixed)[0])
    x, y, z = cone.rows.offset.constant
    row = cone.rows[np.array([free])]

    def bounded(sign: float, bound: float) -> tuple[list[Cone], list[AffineRows]] | None:
        """Return ``sign * (row - bound) >= 0``."""
        return ([], [(row + cone.rows.numbers(-bound)).scaled(sign)]) if np.isfinite(bound) else None

    with np.errstate(over="ignore"):
        if cone.kind == "exp" and y > 0:
            if free == 2:
                return bounded(1.0, float(y * np.exp(x / y)))
            if free == 0:
                return bounded(-1.0, float(y * np.log(z / y))) if z > 0 else ([], [cone.rows.numbers(-1.0)])
        if cone.kind == "pow":
            power = (cone.alpha, 1 - cone.alpha)
            if free == 2 and x >= 0 and y >= 0:
                bound = cone.rows.numbers(float(x ** power[0] * y ** power[1]))
                return [], [row + bound, row.scaled(-1.0) + bound]
            other = (y, x)[free] if free < 2 else 0.0
            if other > 0:
                return bounded(1.0, float((abs(z) / other ** power[1 - free]) ** (1 / power[free])))
    return None
