"""L1, L-infinity and group balls, sums of the largest entries."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

CENTER = np.array([0.5, -1.0, 0.0, 2.0])
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0])
ROTATION = np.linalg.qr(np.array([[1.0, 2.0], [3.0, -1.0]]))[0]


def _with(shape, constraints):
    return constraints(cp.Variable(shape))


def _rows(x):
    return cp.reshape(x, (2, 2), order="C")


SPELLINGS: dict[str, list[Spelling]] = {
    "L1 ball": [
        Spelling("L1 ball", lambda x: [cp.norm1(x - CENTER) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.norm(x - CENTER, 1) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.abs(2 * CENTER - 2 * x)) <= 3]),
        Spelling("L1 ball", lambda x: [cp.pnorm(x - CENTER, 1) <= 1.5, cp.norm1(x - CENTER) <= 2]),
        Spelling("L1 ball", lambda x: [np.ones(4) @ cp.abs(x - CENTER) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.maximum(x - CENTER, CENTER - x)) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.pos(x - CENTER)) + cp.sum(cp.neg(x - CENTER)) <= 1.5]),
        Spelling("L1 ball", lambda x: [2 * cp.sum(cp.pos(x - CENTER)) - cp.sum(x - CENTER) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.norm1((x - CENTER)[:2]) + cp.norm1((x - CENTER)[2:]) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.norm1(_rows(x - CENTER), axis=1)) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.norm(cp.reshape(x - CENTER, (4, 1), order="C"), axis=1)) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.mean(cp.abs(x - CENTER)) <= 0.375]),
        Spelling("L1 ball", lambda x: _with((), lambda t: [cp.norm1(x - CENTER) <= t, t <= 1.5])),
        Spelling("L1 ball", lambda x: _with(4, lambda t: [x - CENTER <= t, CENTER - x <= t, cp.sum(t) <= 1.5])),
        Spelling("L1 ball", lambda x: _with(4, lambda t: [cp.abs(x - CENTER) <= t, t >= 0, cp.sum(t) == 1.5])),
        Spelling("L1 ball", lambda x: _with(4, lambda z: [z == x - CENTER, cp.norm1(z) <= 1.5])),
        Spelling("L1 ball", lambda x: [1.5 - cp.norm1(x - CENTER) >= 0]),
    ],
    "weighted L1 ball": [
        Spelling("L1 ball", lambda x: [cp.norm1(cp.multiply(WEIGHTS, x - CENTER)) <= 1.5]),
        Spelling("L1 ball", lambda x: [WEIGHTS @ cp.abs(x - CENTER) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.norm1(np.diag(-WEIGHTS) @ (x - CENTER)) <= 1.5]),
        Spelling("L1 ball", lambda x: [cp.sum(cp.multiply(2 * WEIGHTS, cp.abs(CENTER - x))) <= 3]),
        Spelling("L1 ball", lambda x: [cp.sum([WEIGHTS[k] * cp.abs(x[k] - CENTER[k]) for k in range(4)]) <= 1.5]),
    ],
    "asymmetric L1 ball": [
        Spelling("asymmetric L1 ball", lambda x: [cp.sum(cp.pos(x - CENTER)) <= 1.5]),
        Spelling("asymmetric L1 ball", lambda x: [cp.sum(cp.maximum(x, CENTER)) <= 1.5 + CENTER.sum()]),
        Spelling("asymmetric L1 ball", lambda x: [cp.norm1(x - CENTER) + cp.sum(x) <= 3 + CENTER.sum()]),
        Spelling("asymmetric L1 ball", lambda x: _with(4, lambda t: [x - CENTER <= t, t >= 0, cp.sum(t) <= 1.5])),
        Spelling("asymmetric L1 ball", lambda x: [cp.sum(cp.neg(CENTER - x)) <= 1.5]),
    ],
    "L-infinity ball": [
        Spelling("box", lambda x: [cp.norm_inf(x - CENTER) <= 1.5]),
        Spelling("box", lambda x: [cp.norm(x - CENTER, "inf") <= 1.5]),
        Spelling("box", lambda x: [cp.norm(x - CENTER, np.inf) <= 1.5]),
        Spelling("box", lambda x: [cp.max(cp.abs(x - CENTER)) <= 1.5]),
        Spelling("box", lambda x: [cp.max(cp.maximum(2 * x - 2 * CENTER, 2 * CENTER - 2 * x)) <= 3]),
        Spelling("box", lambda x: _with((), lambda t: [cp.abs(x - CENTER) <= t, t <= 1.5])),
        Spelling("box", lambda x: [cp.mixed_norm(_rows(x - CENTER), np.inf, np.inf) <= 1.5]),
        Spelling("box", lambda x: [cp.max(x - CENTER) <= 1.5, cp.min(x - CENTER) >= -1.5]),
    ],
    "weighted L-infinity ball": [
        Spelling("box", lambda x: [cp.norm_inf(cp.multiply(WEIGHTS, x - CENTER)) <= 1.5]),
        Spelling("box", lambda x: [cp.max(cp.multiply(WEIGHTS, cp.abs(x - CENTER))) <= 1.5]),
        Spelling("box", lambda x: [cp.norm(np.diag(-WEIGHTS) @ (x - CENTER), "inf") <= 1.5]),
        Spelling("box", lambda x: [cp.multiply(WEIGHTS, cp.abs(CENTER - x)) <= 1.5]),
        Spelling("box", lambda x: [cp.abs(x - CENTER) <= 1.5 / WEIGHTS]),
    ],
    "group ball": [
        Spelling("group ball", lambda x: [cp.mixed_norm(_rows(x - CENTER), 2, 1) <= 1.5]),
        Spelling("group ball", lambda x: [cp.sum(cp.norm(_rows(x - CENTER), 2, axis=1)) <= 1.5]),
        Spelling("group ball", lambda x: [cp.norm((x - CENTER)[:2]) + cp.norm((x - CENTER)[2:]) <= 1.5]),
        Spelling("group ball", lambda x: [cp.sum(cp.norm(cp.reshape(x - CENTER, (2, 2), order="F"), axis=0)) <= 1.5]),
        Spelling("group ball", lambda x: [cp.norm1(cp.norm(_rows(2 * CENTER - 2 * x), axis=1)) <= 3]),
        Spelling("group ball", lambda x: [cp.sum(cp.norm(_rows(x - CENTER) @ ROTATION, axis=1)) <= 1.5]),
        Spelling(
            "group ball",
            lambda x: _with(2, lambda t: [cp.norm(_rows(x - CENTER), axis=1) <= t, t >= 0, cp.sum(t) <= 1.5]),
        ),
    ],
    "weighted groups of unequal size": [
        Spelling("group ball", lambda x: [2 * cp.norm(x[[0, 2]]) + cp.abs(x[1]) + 0.5 * cp.abs(x[3]) <= 1.5]),
        Spelling("group ball", lambda x: [cp.norm(2 * x[[2, 0]]) + cp.norm1(cp.hstack([x[1], x[3] / 2])) <= 1.5]),
        Spelling("group ball", lambda x: [4 * cp.norm(x[:3:2]) + WEIGHTS[[1, 0]] @ cp.abs(x[1::2]) <= 3]),
        Spelling("group ball", lambda x: [cp.norm(x[[0, 2]]) <= 0.75 - cp.abs(x[1]) / 2 - cp.norm(x[3:]) / 4]),
        Spelling(
            "group ball",
            lambda x: _with(
                (), lambda t: [cp.norm(x[[0, 2]]) <= t, 2 * t + cp.norm1(x[1]) + cp.norm1(x[3] / 2) <= 1.5]
            ),
        ),
    ],
    "sum of largest": [
        Spelling("sum of largest entries", lambda x: [cp.sum_largest(x - CENTER, 2) <= 0.5]),
        Spelling("sum of largest entries", lambda x: [cp.sum_largest(3 * x - 3 * CENTER, 2) <= 1.5]),
        Spelling("sum of largest entries", lambda x: [cp.cvar(x - CENTER, 0.5) <= 0.25]),
        Spelling("sum of largest entries", lambda x: [cp.sum_smallest(CENTER - x, 2) >= -0.5]),
        Spelling(
            "sum of largest entries", lambda x: _with((), lambda t: [t + cp.sum(cp.pos(x - CENTER - t)) / 2 <= 0.25])
        ),
        Spelling(
            "sum of largest entries",
            lambda x: _with(5, lambda t: [t[:4] >= x - CENTER - t[4], t[:4] >= 0, cp.sum(t) + t[4] <= 0.5]),
        ),
        Spelling("sum of largest entries", lambda x: [cp.sum_largest(_rows(x - CENTER), 2) <= 0.5]),
    ],
    "largest fraction": [
        Spelling("sum of largest entries", lambda x: [cp.cvar(x, 0.3) <= 0.25]),
        Spelling("sum of largest entries", lambda x: [cp.sum_largest(x, 2.8) <= 0.7]),
        Spelling("sum of largest entries", lambda x: [2 * cp.sum_largest(x, 2.8) - 0.4 <= 1]),
        Spelling("sum of largest entries", lambda x: _with((), lambda t: [t + cp.sum(cp.pos(x - t)) / 2.8 <= 0.25])),
        Spelling("sum of largest entries", lambda x: [cp.sum_smallest(-x, 2.8) >= -0.7]),
    ],
    "smallest": [
        Spelling("sum of largest entries", lambda x: [cp.sum_smallest(x, 3) >= 1]),
        Spelling("sum of largest entries", lambda x: [cp.sum_smallest(2 * x, 3) - 1 >= 1]),
        Spelling("sum of largest entries", lambda x: [cp.sum_largest(-x, 3) <= -1]),
        Spelling("sum of largest entries", lambda x: [cp.cvar(-x, 0.25) <= -1 / 3]),
        Spelling("sum of largest entries", lambda x: _with((), lambda t: [3 * t - cp.sum(cp.pos(t - x)) >= 1])),
    ],
}

PARAMETRIC: dict[str, Parametric] = {
    "L1 ball, radius": Parametric((1.5,), lambda x, p: [cp.norm1(x - CENTER) <= p]),
    "L1 ball, affine radius": Parametric((1.5,), lambda x, p: [2 * cp.norm1(x) <= p + 1]),
    "L1 ball, two radii": Parametric((1.5, 2.0), lambda x, p, q: [cp.norm1(x) <= p, 3 * cp.norm1(x) <= 2 * q]),
    "L1 ball, centre": Parametric((CENTER, 1.5), lambda x, p, q: [cp.norm1(cp.multiply(WEIGHTS, x - p)) <= q]),
    "L1 ball, weights": Parametric((WEIGHTS, 1.5), lambda x, p, q: [cp.norm1(cp.multiply(p, x)) <= q]),
    "L1 ball, negative weights": Parametric((-WEIGHTS,), lambda x, p: [cp.sum(cp.abs(cp.diag(p) @ x)) <= 1]),
    "L1 ball, one scale": Parametric((2.0,), lambda x, p: [cp.norm1(p * x) <= 1]),
    "L1 ball, one-sided": Parametric((CENTER, 1.0), lambda x, p, q: [cp.sum(cp.pos(x - p)) <= q]),
    "L1 ball, levels": Parametric((CENTER, 5.0), lambda x, p, q: [cp.sum(cp.maximum(x, p)) <= q]),
    "L-infinity ball": Parametric((CENTER, 0.7), lambda x, p, q: [cp.norm_inf(cp.multiply(WEIGHTS, x - p)) <= q]),
    "L-infinity ball, max": Parametric((CENTER, 0.7), lambda x, p, q: [cp.max(cp.abs(x - p)) <= q]),
    "group ball": Parametric((CENTER, 1.5), lambda x, p, q: [cp.mixed_norm(_rows(x - p), 2, 1) <= q]),
    "group ball, slices": Parametric((CENTER, 1.5), lambda x, p, q: [cp.norm((x - p)[:3]) + cp.abs(x[3] - p[3]) <= q]),
    "sum of largest": Parametric((CENTER, 0.5), lambda x, p, q: [cp.sum_largest(x - p, 2) <= q]),
    "cvar": Parametric((CENTER, 0.5), lambda x, p, q: [cp.cvar(x - p, 0.3) <= q]),
    "smallest": Parametric((CENTER, 0.5), lambda x, p, q: [cp.sum_smallest(x - p, 2) >= q]),
}
