"""Doubly stochastic matrices and transport plans."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

ROWS = np.array([0.5, 0.3, 0.4])
COLUMNS = np.array([0.2, 0.7, 0.3])
CAPS = np.array([[0.2, 0.3, 0.2], [0.1, 0.3, 0.1], [0.1, 0.4, 0.2]])
SHARES = COLUMNS / COLUMNS.sum()
UPPER = np.array([0.6, 0.46, 0.37])
ONES = np.ones(3)
SOURCES = np.array([[1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]])
TARGETS = np.array([[1, 0, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1]])
SUMS = np.vstack([np.kron(np.eye(3), ONES), np.kron(ONES, np.eye(3))])


def _square(name, build, **attributes):
    return Spelling(name, build, attributes, (3, 3))


def _auxiliary(constraints):
    z = cp.Variable((3, 3))
    return constraints(z)


def _transport(build, **attributes):
    return _square("transport polytope", build, **attributes)


def _along_edges(build, **attributes):
    return Spelling("transport polytope", build, attributes, (7,))


def _birkhoff(build, **attributes):
    return _square("Birkhoff polytope", build, **attributes)


SPELLINGS: dict[str, list[Spelling]] = {
    "Birkhoff polytope": [
        _birkhoff(lambda x: [x >= 0, cp.sum(x, axis=0) == 1, cp.sum(x, axis=1) == 1]),
        _birkhoff(lambda x: [x @ ONES == ONES, x.T @ ONES == ONES], nonneg=True),
        _birkhoff(lambda x: [cp.sum(x, axis=0, keepdims=True) == 1, cp.sum(x, axis=1, keepdims=True) == 1, x >= 0]),
        _birkhoff(lambda x: [cp.sum(x, axis=0) == 1, cp.sum(x, axis=1) == 1], bounds=[0, 1]),
        _birkhoff(lambda x: [SUMS @ cp.vec(x, order="C") == 1, -x <= 0]),
        _birkhoff(
            lambda x: [*(cp.sum(x[k]) == 1 for k in range(3)), *(2 * cp.sum(x[:, k]) == 2 for k in range(3)), x >= 0]
        ),
        _birkhoff(lambda x: [cp.mean(x, axis=0) == 1 / 3, 3 * cp.mean(x, axis=1) == 1, cp.min(x) >= 0]),
        _birkhoff(
            lambda x: [cp.sum(x, axis=0) <= 1, cp.sum(x, axis=0) >= 1, ONES @ x.T == 1, cp.neg(x) <= 0],
        ),
    ],
    "transport polytope": [
        _transport(lambda x: [x >= 0, cp.sum(x, axis=1) == ROWS, cp.sum(x, axis=0) == COLUMNS]),
        _transport(lambda x: [x @ ONES == ROWS, ONES @ x == COLUMNS], nonneg=True),
        _transport(lambda x: [cp.sum(x, axis=1) == ROWS, cp.sum(x[:, :2], axis=0) == COLUMNS[:2], x >= 0]),
        _transport(lambda x: [cp.sum(x.T, axis=0) == ROWS, x.T @ ONES == COLUMNS], bounds=[0, None]),
        _transport(lambda x: [SUMS @ cp.vec(x, order="C") == np.append(ROWS, COLUMNS), cp.min(x) >= 0]),
        _transport(
            lambda x: _auxiliary(
                lambda z: [z == 2 * x, z >= 0, cp.sum(z, axis=1) == 2 * ROWS, cp.sum(z, axis=0) == 2 * COLUMNS]
            )
        ),
    ],
    "transport polytope with capacities": [
        _transport(lambda x: [x >= 0, x <= CAPS, x @ ONES <= UPPER, ONES @ x == 0.9 * COLUMNS]),
        _transport(lambda x: [x @ ONES <= UPPER, cp.sum(x, axis=0) == 0.9 * COLUMNS], bounds=[np.zeros((3, 3)), CAPS]),
        _transport(lambda x: [cp.max(x - CAPS) <= 0, UPPER - x @ ONES >= 0, ONES @ x / 0.9 == COLUMNS], nonneg=True),
        _transport(
            lambda x: [cp.abs(x - CAPS / 2) <= CAPS / 2, cp.max(x @ ONES - UPPER) <= 0, ONES @ x == 0.9 * COLUMNS]
        ),
        _transport(
            lambda x: [x >= 0, x <= CAPS, cp.sum(cp.abs(x), axis=1) <= UPPER, cp.sum(x, axis=0) == 0.9 * COLUMNS]
        ),
    ],
    "transport along edges": [
        _along_edges(lambda x: [x >= 0, SOURCES @ x == ROWS, TARGETS @ x == COLUMNS]),
        _along_edges(lambda x: [np.vstack([TARGETS, SOURCES]) @ x == np.append(COLUMNS, ROWS)], nonneg=True),
        _along_edges(lambda x: [x >= 0, SOURCES[1:] @ x == ROWS[1:], TARGETS @ x == COLUMNS]),
        _along_edges(
            lambda x: [
                x >= 0,
                *(sum(x[e] for e in np.flatnonzero(SOURCES[k])) == ROWS[k] for k in range(3)),
                *(cp.sum(x[TARGETS[k] > 0]) == COLUMNS[k] for k in range(3)),
            ]
        ),
        _along_edges(
            lambda x: [-x <= 0, SOURCES @ x <= ROWS, -SOURCES @ x <= -ROWS, 2 * TARGETS @ x == 2 * COLUMNS, x <= 1]
        ),
    ],
    "partial transport": [
        _transport(lambda x: [x >= 0, x @ ONES <= ROWS, ONES @ x <= COLUMNS]),
        _transport(lambda x: [cp.sum(x, axis=1) <= ROWS, cp.sum(x, axis=0) <= COLUMNS], nonneg=True),
        _transport(lambda x: [cp.pos(-x) <= 0, ROWS >= x @ ONES, COLUMNS - ONES @ x >= 0]),
        _transport(lambda x: [x >= 0, cp.max(x @ ONES - ROWS) <= 0, cp.max(ONES @ x - COLUMNS) <= 0]),
        _transport(lambda x: [x >= 0, cp.norm1(x[0]) <= ROWS[0], x[1:] @ ONES <= ROWS[1:], ONES @ x <= COLUMNS]),
    ],
}

PARAMETRIC: dict[str, Parametric] = {
    "transport totals": Parametric(
        (ROWS,),
        lambda x, r: [x >= 0, cp.sum(x, axis=1) == r, cp.sum(x, axis=0) == SHARES * cp.sum(r)],
        size=(3, 3),
    ),
    "transport capacities": Parametric(
        (CAPS, UPPER),
        lambda x, caps, upper: [x >= 0, x <= caps, x @ ONES <= upper, ONES @ x == 0.9 * COLUMNS],
        size=(3, 3),
    ),
    "partial transport": Parametric(
        (ROWS, COLUMNS / 2), lambda x, r, c: [x @ ONES <= r, ONES @ x <= 2 * c], {"nonneg": True}, (3, 3)
    ),
    "equal totals": Parametric(
        (np.array(1.3),), lambda x, t: [x >= 0, cp.sum(x, axis=0) == t, cp.sum(x, axis=1) == t], size=(3, 3)
    ),
}
