"""Monotone sequences, chains of bounded steps, balls of the total variation."""

import cvxpy as cp
import numpy as np

from spellings.spelling import Parametric, Spelling

GAPS = np.array([0.3, 0.0, 0.5])
FALL = np.array([[1.0, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1]])
ORDER = [2, 0, 3, 1]
RISES = "nondecreasing sequence"
FALLS = "nonincreasing sequence"
STEPS = f"{RISES} with least steps"


def _spellings(label, *builds):
    return [Spelling(label, build) for build in builds]


def _sorted_copy(x):
    z = cp.Variable(4, nonneg=True)
    return [x == cp.cumsum(z)]


SPELLINGS: dict[str, list[Spelling]] = {
    "isotonic": _spellings(
        RISES,
        lambda x: [cp.diff(x) >= 0],
        lambda x: [x[1:] >= x[:-1]],
        lambda x: [x[:-1] <= x[1:]],
        lambda x: [x[k] <= x[k + 1] for k in (2, 0, 1)],
        lambda x: [FALL @ x <= 0],
        lambda x: [cp.max(x[:-1] - x[1:]) <= 0],
        lambda x: [cp.min(cp.diff(x)) >= 0, x[0] <= x[1], 2 * x[1] <= 2 * x[2]],
        lambda x: [cp.multiply(np.array([1.0, 10.0, 0.1]), cp.diff(x)) >= 0],
        lambda x: [cp.maximum(x[0] - x[1], x[1] - x[2], x[2] - x[3]) <= 0],
        lambda x: [cp.neg(cp.diff(x)) <= 0],
    ),
    "decreasing": _spellings(
        FALLS,
        lambda x: [cp.diff(x) <= 0],
        lambda x: [x[1:] <= x[:-1]],
        lambda x: [x[k] >= x[k + 1] for k in range(3)],
        lambda x: [FALL @ x >= 0],
        lambda x: [cp.diff(x[::-1]) >= 0],
    ),
    "isotonic, another order": _spellings(
        FALLS,  # from the first of the two ends
        lambda x: [cp.diff(x[ORDER]) >= 0],
        lambda x: [x[2] <= x[0], x[3] <= x[1], x[0] <= x[3]],
        lambda x: [x[ORDER][1:] >= x[ORDER][:-1]],
        lambda x: [x[[2, 0, 3]] <= x[[0, 3, 1]]],
        lambda x: [cp.diff(x[ORDER[::-1]]) <= 0],
    ),
    "monotone in [0, 1]": _spellings(
        RISES,
        lambda x: [cp.diff(x) >= 0, x >= 0, x <= 1],
        lambda x: [cp.diff(x) >= 0, x[0] >= 0, x[3] <= 1],
        lambda x: [x[1:] >= x[:-1], cp.min(x) >= 0, cp.max(x) <= 1],
        lambda x: [0 <= x[0], x[0] <= x[1], x[1] <= x[2], x[2] <= x[3], x[3] <= 1],
        lambda x: [cp.diff(cp.hstack([0, x, 1])) >= 0],
    ),
    "nonnegative monotone cone": _spellings(
        FALLS,
        lambda x: [cp.diff(x) <= 0, x >= 0],
        lambda x: [cp.diff(x) <= 0, x[3] >= 0],
        lambda x: [cp.diff(cp.hstack([x, 0])) <= 0],
        lambda x: [x[1:] <= x[:-1], cp.min(x) >= 0],
        lambda x: [np.triu(np.ones((4, 4))).T @ cp.diff(cp.hstack([0, x])) >= 0, FALL @ x >= 0],
    ),
    "cumulated": _spellings(
        RISES,
        _sorted_copy,
        lambda x: [cp.diff(x) >= 0, x[0] >= 0],
        lambda x: [cp.diff(x) >= 0, x >= 0],
        lambda x: [cp.diff(cp.hstack([0, x])) >= 0],
        lambda x: [cp.diff(x) >= 0, cp.min(x) >= 0, x[2] >= -1],
    ),
    "least steps": _spellings(
        STEPS,
        lambda x: [cp.diff(x) >= GAPS],
        lambda x: [x[1:] >= x[:-1] + GAPS],
        lambda x: [x[k + 1] - x[k] >= GAPS[k] for k in range(3)],
        lambda x: [cp.diff(x - np.concatenate([[0], GAPS.cumsum()])) >= 0],
        lambda x: [cp.max(GAPS - cp.diff(x)) <= 0],
    ),
    "knots in [0, 1]": _spellings(
        STEPS,
        lambda x: [cp.diff(x) >= 0.1, x >= 0, x <= 1],
        lambda x: [cp.diff(x) >= 0.1, x[0] >= 0, x[3] <= 1],
        lambda x: [x[1:] - 0.1 >= x[:-1], cp.min(x) >= 0, cp.max(x) <= 1],
        lambda x: [10 * cp.diff(x) >= 1, x[0] >= 0, x[3] <= 1, x <= 2],
        lambda x: [cp.diff(x) >= 0.1, cp.abs(x - 0.5) <= 0.5],
    ),
    "order simplex": _spellings(
        "order simplex",
        lambda x: [cp.diff(x) <= 0, x >= 0, cp.sum(x) == 1],
        lambda x: [x[1:] <= x[:-1], x[3] >= 0, cp.sum(x) == 1],
        lambda x: [FALL @ x >= 0, cp.min(x) >= 0, cp.mean(x) == 0.25],
        lambda x: [x[0] >= x[1], x[1] >= x[2], x[2] >= x[3], x >= 0, np.ones(4) @ x == 1],
        lambda x: [cp.diff(cp.hstack([x, 0])) <= 0, 2 * cp.sum(x) >= 2, cp.sum(x) <= 1],
    ),
    "sorted, bounded total": _spellings(
        "monotone sequence of bounded total",
        lambda x: [cp.diff(x) >= 0, x >= 0, x <= 1, cp.sum(x) <= 2],
        lambda x: [cp.diff(x) >= 0, cp.sum(x) <= 2, cp.abs(x - 0.5) <= 0.5],
        lambda x: [x[1:] >= x[:-1], x[0] >= 0, x[3] <= 1, cp.mean(x) <= 0.5],
        lambda x: [cp.diff(x) >= 0, cp.min(x) >= 0, cp.max(x) <= 1, 3 * np.ones(4) @ x <= 6],
        lambda x: [cp.diff(cp.hstack([0, x, 1])) >= 0, 2 - cp.sum(x) >= 0],
    ),
    "Lipschitz": _spellings(
        "Lipschitz chain",
        lambda x: [cp.abs(cp.diff(x)) <= 0.5],
        lambda x: [cp.norm_inf(cp.diff(x)) <= 0.5],
        lambda x: [cp.diff(x) <= 0.5, cp.diff(x) >= -0.5],
        lambda x: [cp.max(cp.abs(x[1:] - x[:-1])) <= 0.5],
        lambda x: [cp.abs(x[k] - x[k + 1]) <= 0.5 for k in range(3)],
        lambda x: [cp.square(cp.diff(x)) <= 0.25],
    ),
    "Lipschitz in a box": _spellings(
        "chain of bounded steps",
        lambda x: [cp.abs(cp.diff(x)) <= 0.5, x >= 0, x <= 1],
        lambda x: [cp.norm_inf(cp.diff(x)) <= 0.5, cp.abs(x - 0.5) <= 0.5],
        lambda x: [cp.diff(x) <= 0.5, cp.diff(x) >= -0.5, cp.min(x) >= 0, cp.max(x) <= 1],
        lambda x: [cp.max(cp.abs(x[1:] - x[:-1])) <= 0.5, cp.norm_inf(2 * x - 1) <= 1],
        lambda x: [*(cp.abs(x[k] - x[k + 1]) <= 0.5 for k in range(3)), x >= 0, x <= 1],
    ),
    "total variation": _spellings(
        "total variation ball",
        lambda x: [cp.tv(x) <= 1],
        lambda x: [cp.norm1(cp.diff(x)) <= 1],
        lambda x: [cp.sum(cp.abs(x[1:] - x[:-1])) <= 1],
        lambda x: [cp.norm1(2 * cp.diff(x)) <= 2],
        lambda x: [cp.abs(x[0] - x[1]) + cp.abs(x[1] - x[2]) + cp.abs(x[2] - x[3]) <= 1],
        lambda x: [3 * cp.tv(x) + 1 <= 4],
        lambda x: [cp.norm1(FALL @ x) <= 1],
    ),
}

PARAMETRIC: dict[str, Parametric] = {
    "isotonic, steps": Parametric((GAPS,), lambda x, p: [cp.diff(x) >= p]),
    "isotonic, one step": Parametric((0.2,), lambda x, p: [x[:-1] - x[1:] <= -p]),
    "isotonic, falls": Parametric((GAPS,), lambda x, p: [x[:-1] - x[1:] >= 2 * p]),
    "isotonic, bounds": Parametric((-0.5, 0.8), lambda x, p, q: [cp.diff(x) >= 0, x >= p, x <= q]),
    "isotonic, two bounds": Parametric((-0.5, 0.2), lambda x, p, q: [cp.diff(x) <= 0, x >= p, x >= q]),
    "isotonic, steps and bounds": Parametric((0.1, 1.0), lambda x, p, q: [cp.diff(x) >= p, x >= 0, x <= q]),
    "order simplex, total": Parametric((1.5,), lambda x, p: [cp.diff(x) <= 0, x >= 0, cp.sum(x) == p]),
    "order simplex, cap": Parametric((0.6, 1.0), lambda x, p, q: [cp.diff(x) >= 0, x >= 0, x <= p, cp.sum(x) <= q]),
    "Lipschitz, constant": Parametric((0.4,), lambda x, p: [cp.norm_inf(cp.diff(x)) <= p]),
    "Lipschitz, steps": Parametric((GAPS + 0.1,), lambda x, p: [cp.abs(cp.diff(x)) <= p]),
    "Lipschitz, reference": Parametric((GAPS, 0.2), lambda x, p, q: [cp.abs(cp.diff(x) - p) <= q]),
    "Lipschitz, box": Parametric((0.4, GAPS[0]), lambda x, p, q: [cp.abs(cp.diff(x)) <= p, x >= -q, x <= 1]),
    "total variation, radius": Parametric((1.2,), lambda x, p: [cp.tv(x) <= p]),
    "total variation, affine radius": Parametric((1.2,), lambda x, p: [2 * cp.norm1(cp.diff(x)) <= p + 1]),
}
