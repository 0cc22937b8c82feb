"""Boxes, their sections, balls, ellipsoids, affine sets."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

ONES = np.ones(4)
CAPS = np.array([0.4, 0.3, 0.6, 0.5])
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0])
SIGNED = np.array([1.0, -2.0, 0.1, 0.5])
CENTER = np.array([0.5, -1.0, 0.0, 2.0])
SCALES = np.array([1.0, 2.0, 0.5, 3.0])
EQUATIONS = np.array([[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 3.0]])
RIGHT = np.array([1.0, -0.5])
ROTATION = np.linalg.qr(np.array([[1.0, 2, 3, 4], [0, 1, 5, 2], [3, 1, 0, 1], [1, 1, 1, 0]]))[0]


def _auxiliary(constraints):
    z = cp.Variable(4)
    return constraints(z)


def _epigraph(constraints):
    t = cp.Variable()
    return constraints(t)


SPELLINGS: dict[str, list[Spelling]] = {
    "simplex": [
        Spelling("simplex", lambda x: [x >= 0, cp.sum(x) == 1]),
        Spelling("simplex", lambda x: [ONES @ x == 1, -x <= 0]),
        Spelling("simplex", lambda x: [3 * cp.sum(x) == 3], {"nonneg": True}),
        Spelling("simplex", lambda x: [cp.sum(x) <= 1, 2 * cp.sum(x) >= 2, cp.min(x) >= 0]),
        Spelling("simplex", lambda x: [1 == x[0] + x[1] + x[2] + x[3], *(x[k] >= 0 for k in range(4))]),
        Spelling("simplex", lambda x: [cp.mean(x) == 0.25, cp.neg(x) <= 0]),
        Spelling("simplex", lambda x: [x >= 0, cp.sum(x) == 1, cp.sum(x) <= 2, x >= -1, cp.sum(x[:2]) >= -3]),
        Spelling("simplex", lambda x: [cp.sum(x) == 1], {"bounds": [0, None]}),
        Spelling("simplex", lambda x: _auxiliary(lambda z: [z == 2 * x, z >= 0, cp.sum(z) == 2])),
        Spelling("simplex", lambda x: [cp.diag(x) >> 0, cp.trace(cp.diag(x)) == 1]),
        Spelling("simplex", lambda x: [cp.reshape(x, (2, 2), order="C") >= 0, cp.sum(cp.vstack([x, x])) == 2]),
        Spelling("simplex", lambda x: [cp.max(-x) <= 0, -cp.sum(x) == -1]),
    ],
    "capped simplex": [
        Spelling("capped simplex", lambda x: [x >= 0, x <= CAPS, cp.sum(x) == 1]),
        Spelling("capped simplex", lambda x: [cp.sum(x) == 1], {"bounds": [np.zeros(4), CAPS]}),
        Spelling("capped simplex", lambda x: [x <= CAPS, x <= 1, ONES @ x == 1], {"nonneg": True}),
        Spelling("capped simplex", lambda x: [cp.max(x / CAPS) <= 1, x >= 0, 1 - cp.sum(x) == 0]),
        Spelling("capped simplex", lambda x: [cp.abs(x - CAPS / 2) <= CAPS / 2, cp.sum(x) == 1]),
    ],
    "hypersimplex": [
        Spelling("capped simplex", lambda x: [x >= 0, x <= 1, cp.sum(x) == 2]),
        Spelling("capped simplex", lambda x: [cp.sum(x) == 2], {"bounds": [0, 1]}),
        Spelling("capped simplex", lambda x: [cp.norm_inf(2 * x - 1) <= 1, cp.sum(x) == 2]),
        Spelling("capped simplex", lambda x: [cp.max(x) <= 1, cp.min(x) >= 0, cp.sum(x) / 2 == 1]),
        Spelling("capped simplex", lambda x: [cp.square(x - 0.5) <= 0.25, cp.sum(x) == 2]),
    ],
    "weighted simplex": [
        Spelling("weighted simplex", lambda x: [x >= 0, WEIGHTS @ x == 1]),
        Spelling("weighted simplex", lambda x: [cp.sum(cp.multiply(WEIGHTS, x)) == 1], {"nonneg": True}),
        Spelling("weighted simplex", lambda x: [x >= 0, cp.scalar_product(WEIGHTS, x) == 1]),
        Spelling("weighted simplex", lambda x: [x >= 0, cp.trace(cp.diag(cp.multiply(x, WEIGHTS))) == 1]),
        Spelling("weighted simplex", lambda x: [x >= 0, -2 * WEIGHTS @ x >= -2, 10 * WEIGHTS @ x >= 10]),
    ],
    "signed section": [
        Spelling("box section", lambda x: [x >= -CAPS, x <= CAPS, SIGNED @ x == 0.2]),
        Spelling("box section", lambda x: [cp.abs(x) <= CAPS, cp.sum(cp.multiply(SIGNED, x)) == 0.2]),
        Spelling(
            "box section", lambda x: [x[0] - 2 * x[1] == 0.2 - 0.5 * x[3] - 0.1 * x[2]], {"bounds": [-CAPS, CAPS]}
        ),
        Spelling("box section", lambda x: [cp.norm_inf(x / CAPS) <= 1, 5 * SIGNED @ x == 1]),
        Spelling("box section", lambda x: [cp.maximum(x, -x) <= CAPS, SIGNED @ x <= 0.2, -SIGNED @ x <= -0.2]),
    ],
    "knapsack": [
        Spelling("knapsack", lambda x: [x >= 0, x <= CAPS, WEIGHTS @ x <= 0.8]),
        Spelling("knapsack", lambda x: [WEIGHTS @ x <= 0.8], {"bounds": [np.zeros(4), CAPS]}),
        Spelling("knapsack", lambda x: [x <= CAPS, 0.8 - cp.sum(cp.multiply(WEIGHTS, x)) >= 0], {"nonneg": True}),
        Spelling("knapsack", lambda x: [x >= 0, x <= CAPS, 2 * WEIGHTS @ x <= 1.6, WEIGHTS @ x <= 1]),
        Spelling("knapsack", lambda x: [x >= 0, x <= CAPS, cp.sum(cp.multiply(WEIGHTS, cp.abs(x))) <= 0.8]),
        Spelling("knapsack", lambda x: [x >= 0, x <= CAPS, cp.norm1(cp.multiply(WEIGHTS, x)) <= 0.8]),
        Spelling("knapsack", lambda x: [cp.pos(-x) <= 0, x <= CAPS, cp.pos(WEIGHTS @ x - 0.8) <= 0]),
    ],
    "half-space": [
        Spelling("half-space", lambda x: [WEIGHTS @ x <= 0.3]),
        Spelling("half-space", lambda x: [-WEIGHTS @ x >= -0.3]),
        Spelling("half-space", lambda x: [2 * cp.sum(cp.multiply(x, WEIGHTS)) - 0.6 <= 0]),
        Spelling("half-space", lambda x: [cp.exp(WEIGHTS @ x) <= np.exp(0.3)]),
        Spelling("half-space", lambda x: [cp.pos(WEIGHTS @ x) <= 0.3]),
        Spelling("half-space", lambda x: [cp.max(cp.hstack([WEIGHTS @ x, 2 * WEIGHTS @ x - 0.3])) <= 0.3]),
    ],
    "slab": [
        Spelling("slab", lambda x: [WEIGHTS @ x <= 0.3, WEIGHTS @ x >= -0.7]),
        Spelling("slab", lambda x: [cp.abs(WEIGHTS @ x + 0.2) <= 0.5]),
        Spelling("slab", lambda x: [cp.norm(cp.reshape(WEIGHTS @ x + 0.2, (1,), order="C")) <= 0.5]),
        Spelling("slab", lambda x: [cp.square(WEIGHTS @ x + 0.2) <= 0.25]),
        Spelling("slab", lambda x: [-2 * WEIGHTS @ x <= 1.4, WEIGHTS @ x <= 0.3, WEIGHTS @ x <= 5]),
    ],
    "hyperplane": [
        Spelling("hyperplane", lambda x: [WEIGHTS @ x == 0.3]),
        Spelling("hyperplane", lambda x: [cp.sum(cp.multiply(WEIGHTS, x)) - 0.3 == 0]),
        Spelling("hyperplane", lambda x: [WEIGHTS @ x <= 0.3, WEIGHTS @ x >= 0.3]),
        Spelling("hyperplane", lambda x: [WEIGHTS @ x == 0.3, 2 * WEIGHTS @ x == 0.6]),
        Spelling("hyperplane", lambda x: [0.1 * x[0] + 0.2 * x[1] == 0.03 - 0.05 * x[2] - 0.3 * x[3]]),
        Spelling("hyperplane", lambda x: [cp.abs(WEIGHTS @ x - 0.3) <= 0]),
    ],
    "affine set": [
        Spelling("affine set", lambda x: [EQUATIONS @ x == RIGHT]),
        Spelling("affine set", lambda x: [x @ EQUATIONS.T == RIGHT]),
        Spelling("affine set", lambda x: [EQUATIONS[0] @ x == RIGHT[0], 5 * EQUATIONS[1] @ x == 5 * RIGHT[1]]),
        Spelling("affine set", lambda x: [np.vstack([EQUATIONS, EQUATIONS.sum(0)]) @ x == [*RIGHT, RIGHT.sum()]]),
        Spelling("affine set", lambda x: [cp.abs(EQUATIONS @ x - RIGHT) <= 0]),
        Spelling("affine set", lambda x: [EQUATIONS @ x <= RIGHT, EQUATIONS @ x >= RIGHT]),
    ],
    "L2 ball": [
        Spelling("L2 ball", lambda x: [cp.norm(x - CENTER) <= 1.5]),
        Spelling("L2 ball", lambda x: [cp.sum_squares(x - CENTER) <= 2.25]),
        Spelling("L2 ball", lambda x: [cp.norm(2 * CENTER - 2 * x, 2) <= 3]),
        Spelling("L2 ball", lambda x: [cp.norm(ROTATION @ (x - CENTER)) <= 1.5]),
        Spelling("L2 ball", lambda x: [cp.SOC(cp.Constant(1.5), x - CENTER)]),
        Spelling("L2 ball", lambda x: [cp.quad_form(x - CENTER, np.eye(4)) <= 2.25]),
        Spelling("L2 ball", lambda x: [cp.norm(x - CENTER) ** 2 <= 2.25]),
        Spelling("L2 ball", lambda x: [cp.sum(cp.square(x - CENTER)) <= 2.25]),
        Spelling("L2 ball", lambda x: [cp.norm(cp.hstack([x - CENTER, 2.0])) <= 2.5]),
        Spelling("L2 ball", lambda x: _epigraph(lambda t: [cp.norm(x - CENTER) <= t, t <= 1.5])),
        Spelling("L2 ball", lambda x: [cp.norm(cp.reshape(x - CENTER, (2, 2), order="F"), "fro") <= 1.5]),
        Spelling("L2 ball", lambda x: [cp.norm(x - CENTER) <= 1.5, cp.norm(x - CENTER) <= 2]),
        Spelling("L2 ball", lambda x: [1.5 - cp.norm(x - CENTER) >= 0, cp.norm(x - CENTER) <= 1.5]),
        Spelling("L2 ball", lambda x: [cp.sum_squares(x) - 2 * CENTER @ x <= 2.25 - CENTER @ CENTER]),
        Spelling("L2 ball", lambda x: _auxiliary(lambda z: [x == CENTER + 1.5 * ROTATION @ z, cp.norm(z) <= 1])),
        Spelling("L2 ball", lambda x: [cp.norm(x - CENTER) <= cp.minimum(1.5, cp.Constant(2))]),
        Spelling(
            "L2 ball", lambda x: _epigraph(lambda t: [cp.norm(x - CENTER) <= cp.min(cp.hstack([t, 3])), t == 1.5])
        ),
        Spelling("L2 ball", lambda x: [cp.quad_over_lin(x - CENTER, 2) <= 1.125]),
        Spelling("L2 ball", lambda x: _auxiliary(lambda z: [z == x - CENTER, cp.norm(z) <= 1.5])),
        Spelling("L2 ball", lambda x: [cp.norm(x - CENTER) <= 1.5, 3 * cp.norm(x - CENTER) <= 5]),
        Spelling("L2 ball", lambda x: [cp.sum_squares((x - CENTER)[:2]) + cp.sum_squares((x - CENTER)[2:]) <= 2.25]),
        Spelling("L2 ball", lambda x: [cp.norm(cp.norm(cp.reshape(x - CENTER, (2, 2), order="C"), axis=1)) <= 1.5]),
        Spelling(
            "L2 ball",
            lambda x: [cp.norm(ROTATION[:, :2] @ (x - CENTER)[:2] + ROTATION[:, 2:] @ (x - CENTER)[2:]) <= 1.5],
        ),
    ],
    "ellipsoid": [
        Spelling("ellipsoid", lambda x: [cp.norm(cp.multiply(SCALES, x - CENTER)) <= 1.5]),
        Spelling("ellipsoid", lambda x: [cp.norm(np.diag(SCALES) @ (x - CENTER)) <= 1.5]),
        Spelling("ellipsoid", lambda x: [cp.quad_form(x - CENTER, np.diag(SCALES**2)) <= 2.25]),
        Spelling("ellipsoid", lambda x: [cp.sum_squares(ROTATION @ np.diag(SCALES) @ (x - CENTER)) <= 2.25]),
        Spelling("ellipsoid", lambda x: [cp.sum(cp.multiply(SCALES**2, cp.square(x - CENTER))) <= 2.25]),
        Spelling("ellipsoid", lambda x: [cp.norm((x - CENTER) * 2 @ np.diag(SCALES)) <= 3]),
    ],
    "box": [
        Spelling("box", lambda x: [x >= -0.5, x <= CAPS]),
        Spelling("box", lambda x: [], {"bounds": [-0.5, CAPS]}),
        Spelling("box", lambda x: [cp.max(x - CAPS) <= 0, cp.min(x) >= -0.5]),
        Spelling("box", lambda x: [cp.abs(x - (CAPS - 0.5) / 2) <= (CAPS + 0.5) / 2]),
        Spelling("box", lambda x: [-2 * x <= 1, x <= CAPS, x <= 3, cp.sum(x) <= 10, x >= -np.inf]),
        Spelling("box", lambda x: [cp.exp(x) <= np.exp(CAPS), x + 0.5 >= 0]),
        Spelling("box", lambda x: [cp.log(x + 1) >= np.log(0.5), x[:2] <= CAPS[:2], x[2:] <= CAPS[2:]]),
    ],
    "tied box": [
        Spelling("box", lambda x: [x[0] == x[1], x[1] == x[2], x[2] == x[0], x >= 0, x <= 1]),
        Spelling("box", lambda x: [x[0] == x[1], x[1] == x[2], x >= 0, x <= 1]),
        Spelling("box", lambda x: [cp.diff(x[:3]) == 0, x >= 0, x <= 1]),
        Spelling("box", lambda x: [x[:2] == x[1:3], x >= 0, x <= 1]),
        Spelling("box", lambda x: [x[0] == x[1], x[0] == x[2]], {"bounds": [0, 1]}),
    ],
    "nonnegative orthant": [
        Spelling("nonnegative orthant", lambda x: [x >= 0]),
        Spelling("nonnegative orthant", lambda x: [], {"nonneg": True}),
        Spelling("nonnegative orthant", lambda x: [cp.min(x) >= 0]),
        Spelling("nonnegative orthant", lambda x: [cp.neg(x) <= 0]),
        Spelling("nonnegative orthant", lambda x: [cp.diag(x) >> 0]),
        Spelling("nonnegative orthant", lambda x: [cp.NonNeg(x)]),
    ],
    "single point": [
        Spelling("single point", lambda x: [x == CENTER]),
        Spelling("single point", lambda x: [x >= CENTER, x <= CENTER]),
        Spelling("single point", lambda x: [], {"bounds": [CENTER, CENTER]}),
        Spelling("single point", lambda x: [2 * x - 2 * CENTER == 0, cp.sum(x) == 1.5]),
        Spelling("single point", lambda x: [x[0] == 0.5, x[0] + x[1] == -0.5, x[1] + x[2] == -1, x[3] - x[0] == 1.5]),
    ],
    "free space": [
        Spelling("free space", lambda x: []),
        Spelling("free space", lambda x: [x <= np.inf]),
        Spelling("free space", lambda x: [0 * x <= 1]),
        Spelling("free space", lambda x: _epigraph(lambda t: [cp.norm(x) <= t])),
        Spelling("free space", lambda x: [cp.Constant(0) <= 1, x - x == 0]),
    ],
}


PARAMETRIC: dict[str, Parametric] = {
    "box, bounds": Parametric((-CAPS, CAPS), lambda x, p, q: [x >= p, x <= q]),
    "box, scalar bound": Parametric((0.5,), lambda x, p: [x <= p]),
    "box, two upper bounds": Parametric((CAPS,), lambda x, p: [x >= 0, x <= p, x <= 0.45]),
    "box, abs": Parametric((CAPS,), lambda x, p: [cp.abs(x) <= p]),
    "box, norm_inf": Parametric((0.7,), lambda x, p: [cp.norm_inf(x) <= p]),
    "box, max": Parametric((0.7,), lambda x, p: [cp.max(x) <= p, cp.max(x) <= 0.9]),
    "simplex, total": Parametric((1.3,), lambda x, p: [x >= 0, cp.sum(x) == p]),
    "simplex, total as inequalities": Parametric((1.3,), lambda x, p: [x >= 0, cp.sum(x) <= p, 2 * cp.sum(x) >= 2 * p]),
    "capped simplex, caps": Parametric((CAPS,), lambda x, p: [x >= 0, x <= p, cp.sum(x) == 1]),
    "weighted simplex, weights": Parametric((WEIGHTS,), lambda x, p: [x >= 0, p @ x == 1]),
    "weighted simplex, multiply": Parametric((WEIGHTS,), lambda x, p: [x >= 0, cp.sum(cp.multiply(p, x)) == 1]),
    "simplex, floor": Parametric((CAPS / 4,), lambda x, p: [x >= p, cp.sum(x) == 1]),
    "fixed entries": Parametric((CAPS[:2],), lambda x, p: [x[:2] == p, x >= 0, cp.sum(x) == 1]),
    "knapsack, budget": Parametric((0.8,), lambda x, p: [x >= 0, x <= CAPS, WEIGHTS @ x <= p]),
    "half-space": Parametric((WEIGHTS, 0.3), lambda x, p, q: [p @ x <= q]),
    "slab": Parametric((0.3,), lambda x, p: [cp.abs(WEIGHTS @ x) <= p]),
    "slab, parametric normal": Parametric((SIGNED, 0.3), lambda x, p, q: [p @ x <= q, p @ x >= -q]),
    "hyperplane": Parametric((0.3,), lambda x, p: [WEIGHTS @ x == p]),
    "affine set": Parametric((RIGHT,), lambda x, p: [EQUATIONS @ x == p]),
    "ball, radius": Parametric((1.5,), lambda x, p: [cp.norm(x - CENTER) <= p]),
    "ball, affine radius": Parametric((2.0,), lambda x, p: [2 * cp.norm(x - CENTER) <= p + 1]),
    "ball, squared radius": Parametric((2.25,), lambda x, p: [cp.sum_squares(x - CENTER) <= p]),
    "ball, sum of squares": Parametric((2.25,), lambda x, p: [cp.sum(cp.square(x - CENTER)) <= p]),
    "ball, square of norm": Parametric((2.25,), lambda x, p: [cp.norm(x - CENTER) ** 2 <= p]),
    "ball, two radii": Parametric((1.5, 2.0), lambda x, p, q: [cp.norm(x - CENTER) <= p, cp.norm(x - CENTER) <= q]),
    "ball, centre": Parametric((CENTER,), lambda x, p: [cp.norm(x - p) <= 1.5]),
    "ball, centre of squares": Parametric((CENTER, 9.0), lambda x, p, q: [cp.sum_squares(2 * x - 2 * p) <= q]),
    "ellipsoid": Parametric((CENTER, 1.5), lambda x, p, q: [cp.norm(cp.multiply(SCALES, x - p)) <= q]),
    "ellipsoid, quad_form": Parametric((1.5,), lambda x, p: [cp.quad_form(x - CENTER, np.diag(SCALES)) <= p]),
    "single point": Parametric((CENTER,), lambda x, p: [x == p]),
}
