"""The accuracy gate: closed forms against CVXPY with Clarabel at 1e-11, in float64 and float32.

Prints one row per set of the catalogue: the largest error relative to the data, over all examples, with constants and
with parameters, and 20 random points each. The last column is Clarabel's own error: the largest amount, relative to the
data, by which its point is farther away or less feasible than ours.

Run with `python benchmarks/accuracy.py`.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.sets import REGISTRY
from optlayers.testing import Case, cases

_TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


@dataclass
class Worst:
    """The largest errors of one set."""

    points: int = 0
    double: float = 0.0
    single: float = 0.0
    violation: float = 0.0
    unsolved: int = 0
    clarabel: float = 0.0


def solve(case: Case, problem: cp.Problem, point: cp.Parameter, v: Tensor) -> np.ndarray | None:
    point.value = v.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(cp.CLARABEL, **_TIGHT)
        except cp.SolverError:
            return None
    return None if problem.status not in ("optimal", "optimal_inaccurate") else np.asarray(case.variable.value)


def measure(case: Case, worst: Worst) -> None:
    point = cp.Parameter(case.shape)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(case.variable - point)), case.constraints)
    points = case.random_points(20)
    double = case.project(points)
    single = case.feasible_set.bind(*case.values(torch.float32)).project(points.float())
    for v, y, z in zip(points, double, single, strict=True):
        worst.points += 1
        other = solve(case, problem, point, v)
        scale = max(1.0, float(v.abs().max()), float(y.abs().max()))
        worst.single = max(worst.single, float((z.double() - y).abs().max()) / scale)
        case.variable.save_value(y.numpy())
        violation = max((float(np.max(c.violation())) for c in case.constraints), default=0.0)
        worst.violation = max(worst.violation, violation / scale)
        if other is None:
            worst.unsolved += 1
            continue
        worst.double = max(worst.double, float(np.abs(other - y.numpy()).max()) / scale)
        case.variable.save_value(other)
        its_violation = max((float(np.max(c.violation())) for c in case.constraints), default=0.0)
        farther = float(np.linalg.norm(other - v.numpy())) - float((y - v).norm())
        worst.clarabel = max(worst.clarabel, (max(farther, 0.0) + its_violation) / scale)


def main() -> None:
    """Measure every set and print the table."""
    results: dict[str, Worst] = defaultdict(Worst)
    for kind in REGISTRY:
        for case in cases(kind):
            measure(case, results[kind.name])
    print("| set | points | float64 to Clarabel | float32 to float64 | violation | not solved by Clarabel | Clarabel |")
    print("|---|---|---|---|---|---|---|")
    for name, w in results.items():
        errors = f"{w.double:.1e} | {w.single:.1e} | {w.violation:.1e} | {w.unsolved} | {w.clarabel:.1e}"
        print(f"| {name} | {w.points} | {errors} |")


if __name__ == "__main__":
    main()
