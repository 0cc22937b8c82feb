"""Sets of symmetric matrices given by their eigenvalues, balls of matrix norms."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

EYE = np.eye(3)
SYMMETRIC, RECTANGLE = {"symmetric": True}, (2, 3)
CENTER = np.array([[0.5, 1.0, 0.0], [1.0, -1.0, 0.3], [0.0, 0.3, 0.2]])
OFFSET = np.arange(6.0).reshape(2, 3) / 4
PERMUTATION = [2, 0, 1]


def _square(label, *builds):
    """Return spellings on a matrix of order 3; a pair holds the variable's attributes too."""
    pairs = [build if isinstance(build, tuple) else (build, SYMMETRIC) for build in builds]
    return [Spelling(label, build, attributes, (3, 3)) for build, attributes in pairs]


def _rectangle(label, *builds):
    return [Spelling(label, build, size=RECTANGLE) for build in builds]


def _copy(constraints, *shape):
    z = cp.Variable(shape)
    return lambda x: constraints(x, z)


def _traces(x, radius):
    """Write the nuclear norm by its dual: half the traces of two matrices that complete one."""
    w = cp.Variable((5, 5), symmetric=True)
    return [w >> 0, w[:2, 2:] == x, cp.trace(w) <= 2 * radius]


def _blocks(x, radius):
    return [cp.bmat([[radius * np.eye(2), x], [x.T, radius * np.eye(3)]]) >> 0]


SPELLINGS: dict[str, list[Spelling]] = {
    "PSD cone": _square(
        "PSD cone",
        (lambda x: [], {"PSD": True}),
        lambda x: [x >> 0],
        lambda x: [cp.lambda_min(x) >= 0],
        lambda x: [cp.lambda_max(-x) <= 0],
        lambda x: [-3 * x << 0],
        (lambda x: [x >> 0, x == x.T], {}),
        (lambda x: [x.T - x == 0, (x + x.T) / 2 >> 0], {}),
        (lambda x: [x >> -EYE, x >> 0], {"PSD": True}),
        lambda x: [x[PERMUTATION][:, PERMUTATION] >> 0],
        lambda x: [cp.kron(np.eye(2), x) >> 0],
        _copy(lambda x, z: [z == 2 * x, z >> 0], 3, 3),
    ),
    "NSD cone": _square(
        "NSD cone",
        (lambda x: [], {"NSD": True}),
        lambda x: [x << 0],
        lambda x: [-x >> 0],
        lambda x: [cp.lambda_max(x) <= 0],
        lambda x: [cp.lambda_min(-x) >= 0],
        (lambda x: [0 >> x, x == x.T], {}),
    ),
    "PSD cone of the symmetric part": _square(
        "PSD cone",
        (lambda x: [x >> 0], {}),
        (lambda x: [x.T >> 0], {}),
        (lambda x: [x + x.T >> 0], {}),
        (lambda x: [cp.lambda_min(x + x.T) >= 0], {}),
        (lambda x: [-x << 0, x >> -2 * EYE], {}),
    ),
    "spectraplex": _square(
        "spectraplex",
        (lambda x: [cp.trace(x) == 1], {"PSD": True}),
        lambda x: [x >> 0, cp.trace(x) == 1],
        lambda x: [x >> 0, cp.sum(cp.diag(x)) == 1],
        lambda x: [cp.lambda_min(x) >= 0, 2 * cp.trace(x) == 2],
        lambda x: [x >> 0, cp.trace(x) <= 1, cp.trace(x) >= 1],
        lambda x: [x >> 0, x[0, 0] + x[1, 1] + x[2, 2] == 1],
        lambda x: [-x << 0, cp.sum(cp.multiply(EYE, x)) == 1],
    ),
    "Fantope": _square(
        "capped spectraplex",
        (lambda x: [x << EYE, cp.trace(x) == 2], {"PSD": True}),
        lambda x: [x >> 0, x << EYE, cp.trace(x) == 2],
        lambda x: [x >> 0, EYE - x >> 0, cp.trace(x) / 2 == 1],
        lambda x: [cp.lambda_min(x) >= 0, cp.lambda_max(x) <= 1, cp.trace(x) == 2],
        lambda x: [x >> 0, cp.sigma_max(x) <= 1, cp.trace(x) == 2],
    ),
    "bounded trace": _square(
        "spectral set",
        (lambda x: [cp.trace(x) <= 1.5], {"PSD": True}),
        lambda x: [x >> 0, cp.trace(x) <= 1.5],
        lambda x: [cp.lambda_min(x) >= 0, 1.5 - cp.trace(x) >= 0],
        lambda x: [x >> 0, cp.sum(cp.diag(2 * x)) <= 3],
        lambda x: [x >> 0, cp.trace(x) <= 1.5, cp.trace(x) <= 2],
    ),
    "eigenvalue bounds": _square(
        "eigenvalue bounds",
        lambda x: [x >> -EYE, x << EYE],
        lambda x: [cp.lambda_max(x) <= 1, cp.lambda_min(x) >= -1],
        lambda x: [cp.sigma_max(x) <= 1],
        lambda x: [cp.norm(x, 2) <= 1],
        lambda x: [cp.maximum(cp.lambda_max(x), cp.lambda_max(-x)) <= 1],
        lambda x: [2 * x << 2 * EYE, EYE >> -x],
    ),
    "shifted PSD cone": _square(
        "eigenvalue bounds",
        lambda x: [x >> CENTER],
        lambda x: [x - CENTER >> 0],
        lambda x: [CENTER << x],
        lambda x: [cp.lambda_min(x - CENTER) >= 0],
        lambda x: [2 * (CENTER - x) << 0],
    ),
    "shifted spectraplex": _square(
        "spectral set",
        lambda x: [x >> CENTER, cp.trace(x) == 1],
        lambda x: [x - CENTER >> 0, cp.trace(x - CENTER) == 1.3],
        lambda x: [cp.lambda_max(CENTER - x) <= 0, cp.trace(x) == 1],
        lambda x: [CENTER << x, cp.sum(cp.diag(x)) == 1],
        lambda x: [x >> CENTER, cp.trace(x) <= 1, cp.trace(x) >= 1],
    ),
    "spectral norm ball": _rectangle(
        "spectral norm ball",
        lambda x: [cp.sigma_max(x) <= 1.5],
        lambda x: [cp.norm(x, 2) <= 1.5],
        lambda x: [cp.sigma_max(x.T) <= 1.5],
        lambda x: [2 * cp.norm(-x, 2) <= 3],
        lambda x: [cp.sigma_max(2 * x) - 3 <= 0, cp.sigma_max(x) <= 2],
        lambda x: [cp.sigma_max(x[::-1][:, PERMUTATION]) <= 1.5],
        lambda x: _blocks(x, 1.5),
    ),
    "shifted spectral norm ball": _rectangle(
        "spectral norm ball",
        lambda x: [cp.sigma_max(x - OFFSET) <= 1.5],
        lambda x: [cp.norm(OFFSET - x, 2) <= 1.5],
        lambda x: [cp.norm(OFFSET.T - x.T, 2) <= 1.5],
        lambda x: [cp.sigma_max(2 * x - 2 * OFFSET) <= 3],
        lambda x: _blocks(x - OFFSET, 1.5),
    ),
    "nuclear norm ball": _rectangle(
        "nuclear norm ball",
        lambda x: [cp.normNuc(x) <= 1.5],
        lambda x: [cp.norm(x, "nuc") <= 1.5],
        lambda x: [cp.normNuc(x.T) <= 1.5],
        lambda x: [2 * cp.normNuc(-x) <= 3],
        lambda x: [cp.normNuc(2 * x) - 3 <= 0],
        lambda x: [cp.normNuc(x[::-1][:, PERMUTATION]) <= 1.5],
        lambda x: _traces(x, 1.5),
    ),
    "nuclear norm ball of symmetric matrices": _square(
        "nuclear norm ball of symmetric matrices",
        lambda x: [cp.normNuc(x) <= 1.5],
        lambda x: [cp.norm(x, "nuc") <= 1.5],
        lambda x: [cp.normNuc(-2 * x) <= 3],
        (lambda x: [cp.normNuc(x) <= 1.5, x == x.T], {}),
        (lambda x: [cp.normNuc(x.T) <= 1.5, x - x.T == 0], {}),
    ),
}


PARAMETRIC: dict[str, Parametric] = {
    "spectraplex, trace": Parametric((1.3,), lambda x, p: [cp.trace(x) == p], {"PSD": True}, (3, 3)),
    "spectral set, all bounds": Parametric(
        (-0.2, 0.9, 1.4),
        lambda x, p, q, r: [x >> p * EYE, cp.lambda_max(x) <= q, cp.trace(x) <= r],
        SYMMETRIC,
        (3, 3),
    ),
    "PSD cone, shift": Parametric((CENTER,), lambda x, p: [x - (p + p.T) / 2 >> 0], SYMMETRIC, (3, 3)),
    "shifted spectraplex": Parametric((CENTER, 1.2), lambda x, p, q: [x >> p, cp.trace(x) == q], {}, (3, 3)),
    "eigenvalues, two bounds": Parametric(
        (0.1, -0.3), lambda x, p, q: [cp.lambda_min(x) >= p, x >> q * EYE, x << EYE], SYMMETRIC, (3, 3)
    ),
    "spectral norm, radius": Parametric((0.7,), lambda x, p: [cp.norm(x, 2) <= p], size=RECTANGLE),
    "spectral norm, all": Parametric(
        (OFFSET, 0.7, 0.9),
        lambda x, p, q, r: [cp.sigma_max(2 * x - p) <= 2 * q, cp.sigma_max(x - p / 2) <= r],
        size=RECTANGLE,
    ),
    "spectral norm, symmetric": Parametric((0.7,), lambda x, p: [cp.sigma_max(x) <= p], SYMMETRIC, (3, 3)),
    "nuclear norm, radius": Parametric((1.2,), lambda x, p: [cp.norm(x, "nuc") <= p], size=RECTANGLE),
    "nuclear norm, centre": Parametric((OFFSET,), lambda x, p: [3 * cp.normNuc(x - p) <= 2], size=RECTANGLE),
    "nuclear norm, symmetric": Parametric((1.2,), lambda x, p: [cp.normNuc(x) <= p], SYMMETRIC, (3, 3)),
}
