"""Sets with smooth maps, one for each kind of map."""

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers import FeasibleSet
from optlayers.oracles.smooth_set import SmoothSet

x, X = cp.Variable(5), cp.Variable((3, 3), symmetric=True)
RISES = np.array([0.1, -0.2, 0.0, 0.3])
Q = np.array([[2.0, 0.3, 0, 0, 0], [0, 1, 0.2, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 3, 1], [0, 0, 0, 0, 1]])
SETS = {
    "free": [x[:2] >= 0, x[:2] >= -1],
    "nonnegative": [x >= 0],
    "nonpositive": [x <= 0.5],
    "box": [x >= np.arange(5), x <= 10 + np.arange(5)],
    "mixed box": [x[0] >= 1, x[1] <= 2, x[2] >= 0, x[2] <= 1, x[3] == 4],
    "simplex": [x >= 0, cp.sum(x) == 2],
    "floor": [x >= 0.1, cp.sum(x) == 1],
    "weighted simplex": [x >= -1, np.array([1.0, 2, 3, 4, 5]) @ x == 3],
    "mirrored simplex": [x[:2] >= 0, x[2:] <= 1, np.array([1.0, 2, -3, -4, -5]) @ x == 3],
    "capped simplex": [x >= 0, x <= 0.3, cp.sum(x) == 1],
    "weighted capped": [x >= -1, x <= np.arange(1, 6), np.array([1.0, -2, 0.5, 3, -1]) @ x == 2],
    "knapsack": [x >= 0, cp.sum(x) <= 2],
    "cover": [x >= 0, np.arange(1, 6) @ x >= 2],
    "slab of simplexes": [x >= 0, cp.sum(x) >= 1, cp.sum(x) <= 3],
    "isotonic": [cp.diff(x) >= 0],
    "least rises": [cp.diff(x) >= RISES, x[0] >= -1],
    "rising below": [cp.diff(x) >= 0, x <= 2],
    "falling": [cp.diff(x) <= 0, x >= 0, x <= 1],
    "falling above": [cp.diff(x) <= -RISES, x[4] >= 1],
    "permuted": [cp.diff(x[[3, 1, 0, 2, 4]]) >= 0, x >= -1, x <= 1],
    "ball": [cp.norm(x - 1) <= 2],
    "ellipsoid": [cp.norm(Q @ (x - 1)) <= 2],
    "half-space": [np.arange(1, 6) @ x <= 1],
    "hyperplane": [cp.sum(x) == 1],
    "affine": [x[0] + x[1] == 1, x[1] + 2 * x[2] == 2],
    "tied": [x[0] == x[1], cp.sum(x[1:]) == 1, x >= 0],
    "product": [x[:2] >= 0, cp.sum(x[:2]) == 1, cp.norm(x[2:4]) <= 1, x[4] <= 3],
    "semidefinite": [X >> 0],
    "above": [X >> np.diag([1.0, 2, 3])],
    "below": [X << 2 * np.eye(3)],
    "eigenvalues": [X >> -np.eye(3), X << 2 * np.eye(3)],
    "spectraplex": [X >> 0, cp.trace(X) == 2],
    "trace": [X >> 0, cp.trace(X) <= 2],
}
BIJECTIVE = {
    "free", "nonnegative", "nonpositive", "box", "knapsack", "cover", "slab of simplexes", "isotonic", "least rises",
    "rising below", "falling", "falling above", "permuted", "ball", "ellipsoid", "half-space",
}  # fmt: skip


def smooth(name: str) -> SmoothSet:
    return SmoothSet.of(FeasibleSet(SETS[name]))


def raw(name: str, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*batch, *smooth(name).feasible_set.variables[0].shape, dtype=dtype)
