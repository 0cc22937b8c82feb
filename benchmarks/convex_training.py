"""Convex training problems with a known answer: the same objective and constraints for torch and for CVXPY.

Each problem is a function of nothing, registered under its name; `PROBLEMS[name]()` solves it with Clarabel, and
returns the optimum, its value and the dual variables beside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

Kind = Literal["inequality", "equality"]


@dataclass(frozen=True)
class Convex:
    """``minimise objective(x)`` subject to constraints, strongly convex, with unique multipliers.

    Attributes
    ----------
    variable : cvxpy.Variable
    constraints : list of cvxpy.Constraint
        On the variable alone, so that ``FeasibleSet(constraints)`` is the feasible set.
    functions : list of (kind, callable)
        One per constraint, in the same order and with the same multipliers: ``g(x) <= 0`` or ``h(x) == 0``.
    objective : callable
        From a tensor to a scalar.
    start : Tensor
        Where training begins: strictly inside all inequalities, in double precision; equalities hold.
    lipschitz : float
        A bound on the second derivatives of the objective.
    optimum : Tensor
    value : float
        The objective at the optimum.
    duals : list of Tensor
        One per constraint, CVXPY's.
    """

    variable: cp.Variable
    constraints: list[Any]
    functions: list[tuple[Kind, Callable[[Tensor], Tensor]]]
    objective: Callable[[Tensor], Tensor]
    start: Tensor
    lipschitz: float
    optimum: Tensor = field(init=False)
    value: float = field(init=False)
    duals: list[Tensor] = field(init=False)

    def solve(self, objective: Any) -> Convex:
        """Fill in the answer by Clarabel."""
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
        cp.Problem(cp.Minimize(objective), self.constraints).solve(solver=cp.CLARABEL, **tolerances)
        optimum = _tensor(self.variable.value)
        object.__setattr__(self, "optimum", optimum)
        object.__setattr__(self, "value", float(self.objective(optimum)))
        object.__setattr__(self, "duals", [_tensor(constraint.dual_value) for constraint in self.constraints])
        return self

    @property
    def normal(self) -> Tensor:
        """Minus the objective's gradient at the optimum: the multiplier of the constraint that x is in the set."""
        x = self.optimum.clone().requires_grad_()
        return -torch.autograd.grad(self.objective(x), x)[0]

    def is_feasible(self, x: Tensor, atol: float = 1e-6) -> bool:
        """Return whether all functions are satisfied."""
        excesses = [f(x).clamp_min(0.0) if kind == "inequality" else f(x).abs() for kind, f in self.functions]
        return all(bool((excess <= atol).all()) for excess in excesses)


PROBLEMS: dict[str, Callable[[], Convex]] = {}


def problem(make: Callable[[], Convex]) -> Callable[[], Convex]:
    """Register a problem under its name."""
    PROBLEMS[make.__name__] = make
    return make


def _tensor(array: Any) -> Tensor:
    return torch.as_tensor(np.array(array, dtype=float))


def _conditioned(rng: np.random.Generator, rows: int, columns: int, condition: float) -> np.ndarray:
    """Return a random matrix with singular values between 1 and the square root of `condition`."""
    left, _ = np.linalg.qr(rng.normal(size=(rows, columns)))
    right, _ = np.linalg.qr(rng.normal(size=(columns, columns)))
    return left * np.sqrt(np.geomspace(1, condition, columns)) @ right


@problem
def least_squares() -> Convex:
    """Least squares in a ball, on a hyperplane, on one side of others: linear and second-order cone constraints."""
    rng = np.random.default_rng(0)
    n = 8
    A, G, e = _conditioned(rng, 20, n, 10.0), rng.normal(size=(5, n)) / np.sqrt(n), np.ones(n) / np.sqrt(n)
    start = 0.2 * rng.normal(size=n)
    b, h, total, radius = A @ rng.normal(size=n), G @ start + 0.5, float(e @ start), 1.0
    x = cp.Variable(n)
    tA, tb, tG, th, te = map(_tensor, (A, b, G, h, e))
    return Convex(
        x,
        [G @ x <= h, cp.norm(x) <= radius, e @ x == total],
        [
            ("inequality", lambda x: tG @ x - th),
            ("inequality", lambda x: torch.linalg.vector_norm(x) - radius),
            ("equality", lambda x: te @ x - total),
        ],
        lambda x: 0.5 * (tA @ x - tb).square().sum(),
        _tensor(start),
        10.0,
    ).solve(0.5 * cp.sum_squares(A @ x - b))


@problem
def simplex_regression() -> Convex:
    """Least squares with weights that are nonnegative and sum to one."""
    rng = np.random.default_rng(1)
    n = 10
    A = _conditioned(rng, 30, n, 10.0)
    b = A @ np.maximum(rng.normal(size=n), 0) * 0.3 + 0.3 * rng.normal(size=30)
    x = cp.Variable(n)
    tA, tb = map(_tensor, (A, b))
    return Convex(
        x,
        [x >= 0, cp.sum(x) == 1],
        [("inequality", lambda x: -x), ("equality", lambda x: x.sum() - 1)],
        lambda x: 0.5 * (tA @ x - tb).square().sum(),
        torch.full((n,), 1 / n, dtype=torch.float64),
        10.0,
    ).solve(0.5 * cp.sum_squares(A @ x - b))


@problem
def svm_dual() -> Convex:
    """The dual of a support vector machine with a Gaussian kernel, squared slacks and capped coefficients."""
    rng = np.random.default_rng(2)
    n, cap = 20, 0.6
    label = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    points = rng.normal(size=(n, 2)) + 0.8 * label[:, None]
    distance = np.square(points[:, None] - points).sum(-1)
    Q = label[:, None] * label * np.exp(-distance / 2) + 0.5 * np.eye(n)
    x = cp.Variable(n)
    tQ, tlabel = _tensor(Q), _tensor(label)
    return Convex(
        x,
        [x >= 0, x <= cap, label @ x == 0],
        [
            ("inequality", lambda x: -x),
            ("inequality", lambda x: x - cap),
            ("equality", lambda x: tlabel @ x),
        ],
        lambda x: 0.5 * x @ tQ @ x - x.sum(),
        torch.full((n,), cap / 2, dtype=torch.float64),
        float(np.linalg.eigvalsh(Q)[-1]),
    ).solve(0.5 * cp.quad_form(x, cp.psd_wrap(Q)) - cp.sum(x))


@problem
def fair_logistic_regression() -> Convex:
    """Ridge logistic regression whose scores have a bounded covariance with a group (Zafar et al., 2017)."""
    rng = np.random.default_rng(3)
    samples, n, bound, ridge = 200, 5, 0.05, 0.1
    group = (rng.random(samples) < 0.5).astype(float)
    X = rng.normal(size=(samples, n))
    X[:, 0] += 1.5 * group
    X[:, -1] = 1.0
    label = np.where(X @ rng.normal(size=n) + X[:, 0] + 0.5 * rng.normal(size=samples) > 0.7, 1.0, -1.0)
    covariance = (group - group.mean()) @ X / samples
    x = cp.Variable(n)
    tX, tlabel, tcovariance = map(_tensor, (X, label, covariance))
    return Convex(
        x,
        [covariance @ x <= bound, -covariance @ x <= bound],
        [
            ("inequality", lambda x: tcovariance @ x - bound),
            ("inequality", lambda x: -tcovariance @ x - bound),
        ],
        lambda x: torch.nn.functional.softplus(-tlabel * (tX @ x)).mean() + ridge / 2 * x.square().sum(),
        torch.zeros(n, dtype=torch.float64),
        float(np.linalg.eigvalsh(X.T @ X / samples)[-1] / 4 + ridge),
    ).solve(cp.sum(cp.logistic(cp.multiply(-label, X @ x))) / samples + ridge / 2 * cp.sum_squares(x))


__all__ = ["PROBLEMS", "Convex"]
