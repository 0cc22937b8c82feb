"""Cones, hyperboloids and paraboloids; balls that meet boxes, slabs and affine sets."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

CENTER = np.array([0.5, -1.0, 0.0, 2.0])
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0])
SCALES = np.array([0.2, 1.0, 3.0])
EQUATIONS = np.array([[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 3.0]])
RIGHT = np.array([1.0, -0.5])
LOWER = np.array([-0.2, 0.0, -1.0, 0.3])
CONIC = np.array([2 / 3, 0.0, 0.0, 0.0])
ROTATION = np.linalg.qr(np.array([[1.0, 2, 3], [0, 1, 5], [3, 1, 0]]))[0]


def _norm(x, **options):
    return cp.norm(x, 2, **options)


def _auxiliary(constraints, size=()):
    return constraints(cp.Variable(size))


SPELLINGS: dict[str, list[Spelling]] = {
    "second-order cone": [
        Spelling("second-order cone", lambda x: [_norm(x[1:]) <= x[0]]),
        Spelling("second-order cone", lambda x: [cp.SOC(x[0], x[1:])]),
        Spelling("second-order cone", lambda x: [cp.SOC(2 * x[0], 2 * cp.hstack([-x[3], x[1], x[2]]))]),
        Spelling("second-order cone", lambda x: [x[0] - _norm(ROTATION @ x[1:]) >= 0, x[0] >= 0]),
        Spelling("second-order cone", lambda x: [_norm(x[1:]) - x[0] <= 0, x[0] >= -1], {"bounds": [None, None]}),
        Spelling("second-order cone", lambda x: _auxiliary(lambda t: [_norm(x[1:]) <= t, t <= x[0]])),
        Spelling("second-order cone", lambda x: [_norm(cp.hstack([_norm(x[1:3]), cp.abs(x[3])])) <= x[0]]),
        Spelling("second-order cone", lambda x: [cp.quad_over_lin(x[1:], x[0]) <= x[0]]),
        Spelling("second-order cone", lambda x: [cp.SOC(x[:1], x[1:].reshape((3, 1), order="C"), axis=0)]),
        Spelling("second-order cone", lambda x: _auxiliary(lambda z: [z == 2 * x, _norm(z[1:]) <= z[0]], 4)),
    ],
    "shifted cone": [
        Spelling("second-order cone", lambda x: [_norm(x[:3] - CENTER[:3]) <= 2 - x[3]]),
        Spelling("second-order cone", lambda x: [x[3] + _norm(CENTER[:3] - x[:3]) <= 2]),
        Spelling("second-order cone", lambda x: [cp.SOC(4 - 2 * x[3], 2 * x[:3] - 2 * CENTER[:3])]),
        Spelling("second-order cone", lambda x: [_norm((x - CENTER)[[2, 0, 1]]) <= -(x - CENTER)[3]]),
        Spelling("second-order cone", lambda x: [_norm(x[:3] - CENTER[:3]) <= 2 - x[3], x[3] <= 2]),
    ],
    "narrow cone": [
        Spelling("second-order cone", lambda x: [_norm(x[1:]) <= 0.5 * x[0]]),
        Spelling("second-order cone", lambda x: [2 * _norm(x[1:]) <= x[0]]),
        Spelling("second-order cone", lambda x: [cp.SOC(x[0] / 2, x[1:])]),
        Spelling("second-order cone", lambda x: [_norm(cp.hstack([x[1:], x[1:]])) <= x[0] / 2**0.5]),
        Spelling("second-order cone", lambda x: [_norm(x) <= 5**0.5 / 2 * x[0]]),
        Spelling("second-order cone", lambda x: [cp.quad_over_lin(4 * x[1:], x[0]) <= 4 * x[0]]),
    ],
    "rotated cone": [
        Spelling("rotated cone", lambda x: [cp.quad_over_lin(x[2:], x[0]) <= x[1]]),
        Spelling("rotated cone", lambda x: [cp.quad_over_lin(x[2:], x[1]) <= x[0], x[:2] >= 0]),
        Spelling("rotated cone", lambda x: [cp.geo_mean(x[:2]) >= _norm(x[2:])]),
        Spelling("rotated cone", lambda x: [cp.SOC(x[0] + x[1], cp.hstack([x[0] - x[1], 2 * x[2:]]))]),
        Spelling("rotated cone", lambda x: [2 * cp.quad_over_lin(x[2:], 2 * x[0]) <= x[1]]),
    ],
    "rotated cone of three entries": [
        Spelling("rotated cone", lambda x: [cp.quad_over_lin(x[2], x[0]) <= x[1]], size=(3,)),
        Spelling("rotated cone", lambda x: [cp.geo_mean(x[:2]) >= cp.abs(x[2])], size=(3,)),
        Spelling("rotated cone", lambda x: [cp.PowCone3D(x[0], x[1], x[2], 0.5)], size=(3,)),
        Spelling("rotated cone", lambda x: [cp.geo_mean(x[:2]) >= cp.max(cp.abs(x[2:])), x[:2] >= 0], size=(3,)),
        Spelling("rotated cone", lambda x: [cp.geo_mean(x[:2]) >= x[2], cp.geo_mean(x[:2]) >= -x[2]], size=(3,)),
    ],
    "hyperbola": [
        Spelling("hyperboloid", lambda x: [cp.inv_pos(x[0]) <= x[1]], size=(2,)),
        Spelling("hyperboloid", lambda x: [cp.geo_mean(x) >= 1], size=(2,)),
        Spelling("hyperboloid", lambda x: [cp.quad_over_lin(1, x[0]) <= x[1], x >= 0], size=(2,)),
        Spelling("hyperboloid", lambda x: [cp.SOC(x[0] + x[1], cp.hstack([x[0] - x[1], 2]))], size=(2,)),
        Spelling("hyperboloid", lambda x: [2 * cp.inv_pos(2 * x[0]) <= x[1]], size=(2,)),
        Spelling("hyperboloid", lambda x: [cp.power(x[0], -1) <= x[1]], size=(2,)),
    ],
    "rotated second-order cone": [
        Spelling("rotated second-order cone", lambda x: [cp.quad_over_lin(x[2:], x[0]) <= 2 * x[1]]),
        Spelling("rotated second-order cone", lambda x: [cp.quad_over_lin(x[2:], 2 * x[1]) <= x[0]]),
        Spelling("rotated second-order cone", lambda x: [2**0.5 * cp.geo_mean(x[:2]) >= _norm(x[2:])]),
        Spelling("rotated second-order cone", lambda x: [cp.quad_over_lin(x[2:], x[0]) <= 2 * x[1], x[:2] >= 0]),
        Spelling(
            "rotated second-order cone", lambda x: [cp.SOC(x[0] + x[1], cp.hstack([x[1] - x[0], 2**0.5 * x[2:]]))]
        ),
    ],
    "elliptic cone": [
        Spelling("elliptic cone", lambda x: [_norm(cp.multiply(SCALES, x[1:])) <= x[0]]),
        Spelling("elliptic cone", lambda x: [cp.SOC(x[0], np.diag(SCALES) @ x[1:])]),
        Spelling("elliptic cone", lambda x: [3 * _norm(ROTATION @ np.diag(SCALES) @ x[1:]) <= 3 * x[0]]),
        Spelling("elliptic cone", lambda x: [cp.quad_over_lin(cp.multiply(SCALES, x[1:]), x[0]) <= x[0], x[0] >= 0]),
        Spelling(
            "elliptic cone",
            lambda x: [_norm(cp.hstack([cp.abs(x[1]) / 5, _norm(cp.hstack([x[2], 3 * x[3]]))])) <= x[0]],
        ),
    ],
    "hyperboloid": [
        Spelling("hyperboloid", lambda x: [_norm(cp.hstack([x[1:], 0.5])) <= x[0]]),
        Spelling("hyperboloid", lambda x: [_norm(cp.hstack([x[1:], 0.3, 0.4])) <= x[0]]),
        Spelling("hyperboloid", lambda x: [2 * _norm(cp.hstack([x[1:], 0.5])) <= 2 * x[0], x[0] >= 0]),
        Spelling("hyperboloid", lambda x: [_norm(cp.hstack([_norm(x[1:]), 0.5])) <= x[0]]),
        Spelling("hyperboloid", lambda x: [cp.SOC(x[0], cp.hstack([0.5, x[1:]]))]),
    ],
    "paraboloid": [
        Spelling("paraboloid", lambda x: [cp.sum_squares(x[1:]) <= x[0]]),
        Spelling("paraboloid", lambda x: [cp.sum(cp.square(x[1:])) <= x[0], x[0] >= 0]),
        Spelling("paraboloid", lambda x: [cp.quad_form(x[1:], np.eye(3)) - x[0] <= 0]),
        Spelling("paraboloid", lambda x: [cp.sqrt(x[0]) >= _norm(x[1:])]),
        Spelling("paraboloid", lambda x: [cp.quad_over_lin(x[1:], 1) <= x[0]]),
        Spelling("paraboloid", lambda x: [cp.sum_squares(x[1:3]) + cp.square(x[3]) <= x[0]]),
        Spelling("paraboloid", lambda x: [cp.SOC(x[0] + 1, cp.hstack([x[0] - 1, 2 * x[1:]]))]),
        Spelling("paraboloid", lambda x: [_norm(x[1:]) ** 2 <= x[0]]),
        Spelling("paraboloid", lambda x: [cp.geo_mean(cp.hstack([x[0], 1])) >= _norm(x[1:])]),
        Spelling("paraboloid", lambda x: _auxiliary(lambda t: [cp.sum_squares(x[1:]) <= t, t <= x[0]])),
    ],
    "tilted paraboloid": [
        Spelling("paraboloid", lambda x: [cp.sum_squares(cp.multiply(SCALES, x[:3])) + CENTER @ x <= 1]),
        Spelling("paraboloid", lambda x: [cp.quad_form(x[:3], np.diag(SCALES**2)) <= 1 - CENTER @ x]),
        Spelling("paraboloid", lambda x: [2 * cp.sum_squares(cp.multiply(SCALES, x[:3])) + 2 * CENTER @ x - 2 <= 0]),
        Spelling("paraboloid", lambda x: [cp.sum(cp.multiply(SCALES**2, cp.square(x[:3]))) + CENTER @ x <= 1]),
        Spelling("paraboloid", lambda x: [cp.sum_squares(ROTATION @ np.diag(SCALES) @ x[:3]) <= 1 - CENTER @ x]),
    ],
    "conic section": [
        Spelling("ellipsoid", lambda x: [_norm(x) <= 1 + 0.5 * x[0]]),
        Spelling("ellipsoid", lambda x: [2 * _norm(x) - x[0] <= 2]),
        Spelling("ellipsoid", lambda x: [cp.SOC(1 + 0.5 * x[0], x)]),
        Spelling("ellipsoid", lambda x: [_norm(cp.multiply(np.array([3**0.5, 2, 2, 2]), x - CONIC)) <= 4 / 3**0.5]),
        Spelling("ellipsoid", lambda x: _auxiliary(lambda t: [_norm(x) <= t, t == 1 + 0.5 * x[0]])),
    ],
    "nonnegative L2 ball": [
        Spelling("nonnegative L2 ball", lambda x: [x >= 0, _norm(x) <= 1]),
        Spelling("nonnegative L2 ball", lambda x: [cp.sum_squares(x) <= 1], {"nonneg": True}),
        Spelling("nonnegative L2 ball", lambda x: [_norm(x) <= 1], {"bounds": [0, None]}),
        Spelling("nonnegative L2 ball", lambda x: [cp.min(x) >= 0, 2 - 2 * _norm(x) >= 0]),
        Spelling("nonnegative L2 ball", lambda x: [cp.neg(x) <= 0, cp.quad_form(x, np.eye(4)) <= 1]),
        Spelling("nonnegative L2 ball", lambda x: [x >= 0, x >= -1, _norm(x) <= 1, _norm(x) <= 2]),
    ],
    "box meets ball": [
        Spelling("box meets L2 ball", lambda x: [x >= LOWER, x <= 1, _norm(x - CENTER) <= 2]),
        Spelling("box meets L2 ball", lambda x: [cp.sum_squares(x - CENTER) <= 4], {"bounds": [LOWER, 1]}),
        Spelling("box meets L2 ball", lambda x: [cp.max(x) <= 1, LOWER <= x, cp.SOC(cp.Constant(2), x - CENTER)]),
        Spelling("box meets L2 ball", lambda x: [cp.abs(2 * x - LOWER - 1) <= 1 - LOWER, _norm(CENTER - x) <= 2]),
        Spelling(
            "box meets L2 ball", lambda x: _auxiliary(lambda t: [_norm(x - CENTER) <= t, t <= 2, x >= LOWER, x <= 1])
        ),
    ],
    "hyperplane meets ball": [
        Spelling("hyperplane meets L2 ball", lambda x: [WEIGHTS @ x == 4, _norm(x - CENTER) <= 1.5]),
        Spelling("hyperplane meets L2 ball", lambda x: [2 * WEIGHTS @ x == 8, cp.sum_squares(x - CENTER) <= 2.25]),
        Spelling("hyperplane meets L2 ball", lambda x: [WEIGHTS @ x <= 4, WEIGHTS @ x >= 4, _norm(x - CENTER) <= 1.5]),
        Spelling(
            "hyperplane meets L2 ball", lambda x: [cp.sum(cp.multiply(WEIGHTS, x)) == 4, 2 * _norm(x - CENTER) <= 3]
        ),
        Spelling("hyperplane meets L2 ball", lambda x: [cp.abs(WEIGHTS @ x - 4) <= 0, _norm(x - CENTER) <= 1.5]),
    ],
    "half-space meets ball": [
        Spelling("half-space meets L2 ball", lambda x: [WEIGHTS @ x <= 4, _norm(x - CENTER) <= 1.5]),
        Spelling("half-space meets L2 ball", lambda x: [-2 * WEIGHTS @ x >= -8, cp.sum_squares(x - CENTER) <= 2.25]),
        Spelling("half-space meets L2 ball", lambda x: [cp.exp(WEIGHTS @ x) <= np.exp(4), _norm(x - CENTER) <= 1.5]),
        Spelling("half-space meets L2 ball", lambda x: [cp.pos(WEIGHTS @ x) <= 4, 2 * _norm(x - CENTER) <= 3]),
        Spelling("half-space meets L2 ball", lambda x: [WEIGHTS @ x <= 4, WEIGHTS @ x <= 5, _norm(x - CENTER) <= 1.5]),
    ],
    "slab meets ball": [
        Spelling("slab meets L2 ball", lambda x: [cp.abs(WEIGHTS @ x - 5) <= 1, _norm(x - CENTER) <= 1.5]),
        Spelling("slab meets L2 ball", lambda x: [WEIGHTS @ x <= 6, WEIGHTS @ x >= 4, _norm(x - CENTER) <= 1.5]),
        Spelling("slab meets L2 ball", lambda x: [cp.square(WEIGHTS @ x - 5) <= 1, _norm(x - CENTER) <= 1.5]),
        Spelling("slab meets L2 ball", lambda x: [cp.abs(2 * WEIGHTS @ x - 10) <= 2, 2 * _norm(x - CENTER) <= 3]),
        Spelling(
            "slab meets L2 ball", lambda x: [WEIGHTS @ x <= 6, -WEIGHTS @ x <= -4, cp.sum_squares(x - CENTER) <= 2.25]
        ),
    ],
    "affine set meets ball": [
        Spelling("affine set meets L2 ball", lambda x: [EQUATIONS @ x == RIGHT, _norm(x - CENTER) <= 4]),
        Spelling("affine set meets L2 ball", lambda x: [x @ EQUATIONS.T == RIGHT, cp.sum_squares(x - CENTER) <= 16]),
        Spelling(
            "affine set meets L2 ball",
            lambda x: [EQUATIONS[0] @ x == RIGHT[0], 5 * EQUATIONS[1] @ x == 5 * RIGHT[1], _norm(x - CENTER) <= 4],
        ),
        Spelling("affine set meets L2 ball", lambda x: [cp.abs(EQUATIONS @ x - RIGHT) <= 0, _norm(CENTER - x) <= 4]),
        Spelling(
            "affine set meets L2 ball",
            lambda x: [np.vstack([EQUATIONS, EQUATIONS.sum(0)]) @ x == [*RIGHT, RIGHT.sum()], _norm(x - CENTER) <= 4],
        ),
    ],
    "exponential cone": [
        Spelling("exponential cone", lambda x: [cp.ExpCone(x[0], x[1], x[2])], size=(3,)),
        Spelling("exponential cone", lambda x: [cp.rel_entr(x[1], x[2]) <= -x[0]], size=(3,)),
        Spelling("exponential cone", lambda x: [cp.ExpCone(2 * x[0], 2 * x[1], 2 * x[2]), x[1:] >= 0], size=(3,)),
        Spelling("exponential cone", lambda x: [x[0] + cp.rel_entr(x[1], x[2]) <= 0, x[1] >= 0], size=(3,)),
        Spelling("exponential cone", lambda x: _auxiliary(lambda z: [z == x, cp.ExpCone(*z)], 3), size=(3,)),
    ],
    "power cone": [
        Spelling("power cone", lambda x: [cp.PowCone3D(x[0], x[1], x[2], 0.3)], size=(3,)),
        Spelling("power cone", lambda x: [cp.PowCone3D(x[1], x[0], -x[2], 0.7)], size=(3,)),
        Spelling("power cone", lambda x: [cp.PowCone3D(2 * x[0], 2 * x[1], 2 * x[2], 0.3), x[:2] >= 0], size=(3,)),
        Spelling("power cone", lambda x: [cp.PowConeND(x[:2], x[2], np.array([0.3, 0.7]))], size=(3,)),
        Spelling(
            "power cone", lambda x: _auxiliary(lambda z: [z == -x, cp.PowCone3D(-z[0], -z[1], z[2], 0.3)], 3), size=(3,)
        ),
    ],
}


PARAMETRIC: dict[str, Parametric] = {
    "second-order cone, apex": Parametric((CENTER,), lambda x, p: [_norm(x[1:] - p[1:]) <= x[0] - p[0]]),
    "second-order cone, level": Parametric((0.3, 2.0), lambda x, p, q: [2 * _norm(x[1:]) <= q - x[0] + 3 * p]),
    "rotated cone, shift": Parametric(
        (CENTER[2:], 0.4), lambda x, p, q: [cp.SOC(x[0] + x[1] + q, cp.hstack([x[0] - x[1] + q, 2 * x[2:] - 2 * p]))]
    ),
    "elliptic cone, apex": Parametric(
        (CENTER,), lambda x, p: [_norm(cp.multiply(SCALES, x[1:] - p[1:])) <= x[0] - p[0]]
    ),
    "hyperboloid, half-axis": Parametric((0.5,), lambda x, p: [_norm(cp.hstack([x[1:], p])) <= x[0]]),
    "hyperbola": Parametric((1.5,), lambda x, p: [_norm(cp.hstack([x[0] - x[1], p])) <= x[0] + x[1]], size=(2,)),
    "paraboloid, vertex": Parametric((CENTER,), lambda x, p: [cp.sum_squares(x[1:] - p[1:]) <= x[0] - p[0]]),
    "tilted paraboloid, vertex": Parametric(
        (CENTER[:3], 0.3), lambda x, p, q: [cp.sum_squares(cp.multiply(SCALES, x[:3] - p)) <= CENTER @ x - q]
    ),
    "flat paraboloid, vertex": Parametric((RIGHT,), lambda x, p: [cp.sum_squares(EQUATIONS @ x - p) <= x[0] + x[2]]),
    "nonnegative ball, radius": Parametric((1.5,), lambda x, p: [x >= 0, _norm(x) <= p]),
    "box meets ball": Parametric((LOWER, CENTER, 4.0), lambda x, p, q, r: [x >= p, x <= 1, cp.sum_squares(x - q) <= r]),
    "hyperplane meets ball": Parametric((4.0, CENTER, 1.5), lambda x, p, q, r: [WEIGHTS @ x == p, _norm(x - q) <= r]),
    "half-space meets ball": Parametric((WEIGHTS, 4.0, 1.5), lambda x, p, q, r: [p @ x <= q, _norm(x - CENTER) <= r]),
    "slab meets ball": Parametric(
        (6.0, 1.5), lambda x, p, q: [WEIGHTS @ x <= p, WEIGHTS @ x >= 4, _norm(x - CENTER) <= q]
    ),
    "affine set meets ball": Parametric(
        (RIGHT, CENTER, 4.0), lambda x, p, q, r: [EQUATIONS @ x == p, _norm(x - q) <= r]
    ),
    "exponential cone, apex": Parametric(
        (CENTER[:3],), lambda x, p: [cp.ExpCone(x[2] - p[0], p[1] - x[0], x[1] + p[2])], size=(3,)
    ),
    "power cone, apex": Parametric((CENTER[:3],), lambda x, p: [cp.PowCone3D(*(x - p), 0.3)], size=(3,)),
    "ellipsoid, quad_form of radius": Parametric(
        (1.5, CENTER), lambda x, p, q: [cp.quad_form(x - q, np.diag(WEIGHTS)) <= 2 * p + 1]
    ),
    "conic section": Parametric((CENTER, 3.0), lambda x, p, q: [_norm(x - p) <= 0.2 * WEIGHTS @ x + q]),
    "ellipsoid, dense": Parametric((1.5,), lambda x, p: [_norm(np.vstack([EQUATIONS, np.eye(4)]) @ x) <= p]),
}
