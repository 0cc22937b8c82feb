"""Permutahedra."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

WEIGHTS = np.array([2.0, -1.0, 3.0, 0.5])
SUMS = np.array([3.0, 5.0, 5.5, 4.5])
CENTER = np.array([0.5, -1.0, 0.0, 2.0])


def _mixed(y, weights):
    p = cp.Variable((4, 4))
    return [y == p @ weights, p >= 0, cp.sum(p, axis=0) == 1, cp.sum(p, axis=1) == 1]


def _transposed(y, weights):
    p = cp.Variable((4, 4), nonneg=True)
    return [weights @ p == y, p @ np.ones(4) == 1, np.ones(4) @ p == 1]


def _name(build):
    return Spelling("permutahedron", build)


SPELLINGS: dict[str, list[Spelling]] = {
    "permutahedron": [
        _name(lambda x: [cp.sum(x) == 4.5, *(cp.sum_largest(x, j + 1) <= SUMS[j] for j in range(3))]),
        _name(lambda x: [cp.sum(x) == 4.5, cp.max(x) <= 3, cp.sum_largest(x, 2) <= 5, cp.min(x) >= -1]),
        _name(lambda x: [cp.sum(x) == 4.5, cp.max(x) <= 3, cp.sum_smallest(x, 2) >= -0.5, x >= -1]),
        _name(lambda x: [cp.mean(x) == 4.5 / 4, x <= 3, cp.cvar(x, 0.5) <= 2.5, cp.cvar(-x, 0.75) <= 1]),
        _name(lambda x: _mixed(x, WEIGHTS)),
        _name(lambda x: _transposed(x, np.sort(WEIGHTS))),
        _name(lambda x: _mixed(2 * x, 2 * WEIGHTS)),
    ],
}

PARAMETRIC: dict[str, Parametric] = {
    "permutahedron, centre": Parametric(
        (CENTER,),
        lambda x, p: [cp.sum(x - p) == 4.5, *(cp.sum_largest(x - p, j + 1) <= SUMS[j] for j in range(3))],
    ),
    "permutahedron, weights": Parametric((WEIGHTS,), _mixed),
    "permutahedron, both": Parametric((WEIGHTS, CENTER), lambda x, p, q: _transposed(x - q, p)),
}
