"""Sets with cones, and small ones: forward and backward beside Clarabel's own solve time, sample by sample.

    python benchmarks/cones.py [--families entropy ...] [--output NAME.md]

Answers are certified before they are timed: solved by our KKT residual, and not farther from the point than Clarabel's
by more than its accuracy. Clarabel is called directly, and its time is that of `solve` alone: no canonicalisation, no
set-up, no gradient; ours is a whole call through `FeasibleSet.project` and the backward pass.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones
from report import heading, publish, table
from torch import Tensor

from optlayers import FeasibleSet

_CLOSE = 1e-5  # Clarabel's error at its default tolerances, relative
_CHECKED = 4  # samples that Clarabel solves


@dataclass(frozen=True)
class Family:
    """A set, its points, and values of its parameters, one per sample."""

    feasible_set: FeasibleSet
    points: Tensor
    values: tuple[Tensor, ...] = ()

    def bound(self, samples: int) -> FeasibleSet:
        return self.feasible_set.bind(*(value[:samples] for value in self.values))


def control_barrier(rng: np.random.Generator, batch: int) -> Family:
    u, a, b = cp.Variable(2), cp.Parameter((4, 2)), cp.Parameter(4)
    feasible_set = FeasibleSet([u >= -1, u <= 1, a @ u <= b], u, [a, b], on_failure="nan")
    return Family(feasible_set, _normal(rng, batch, 2) * 3, (_normal(rng, batch, 4, 2), _normal(rng, batch, 4).abs()))


def entropy(rng: np.random.Generator, batch: int) -> Family:
    p = cp.Variable(10, nonneg=True)
    limits = [cp.sum(p) == 1, cp.sum(cp.entr(p)) >= 1.5]
    return Family(FeasibleSet(limits, p, on_failure="nan"), _normal(rng, batch, 10))


def kl_ball(rng: np.random.Generator, batch: int) -> Family:
    p, reference = cp.Variable(8, nonneg=True), rng.dirichlet(np.ones(8))
    limits = [cp.sum(p) == 1, cp.sum(cp.rel_entr(p, reference)) <= 0.1]
    return Family(FeasibleSet(limits, p, on_failure="nan"), _normal(rng, batch, 8))


def portfolio(rng: np.random.Generator, batch: int) -> Family:
    n = 100
    w, root, before = cp.Variable(n), rng.normal(size=(n, n)) / n, np.full(n, 1 / n)
    limits = [w >= 0, cp.sum(w) == 1, w <= 0.05, np.kron(np.eye(10), np.ones(10)) @ w <= 0.2]
    limits += [cp.norm(root @ (w - before)) <= 0.02, cp.norm1(w - before) <= 0.5]
    return Family(FeasibleSet(limits, w, on_failure="nan"), torch.from_numpy(before) + 0.05 * _normal(rng, batch, n))


def ellipsoid(rng: np.random.Generator, batch: int) -> Family:
    n = 30
    x, center, form = cp.Variable(n), cp.Parameter(n), rng.normal(size=(n, n)) / np.sqrt(n)
    limits = [cp.norm(form @ (x - center)) <= 1, rng.normal(size=(10, n)) @ x <= 0.5]
    feasible_set = FeasibleSet(limits, x, [center], on_failure="nan")
    return Family(feasible_set, _normal(rng, batch, n), (0.1 * _normal(rng, batch, n),))


def correlation(rng: np.random.Generator, batch: int) -> Family:
    x = cp.Variable((20, 20), PSD=True)
    points = _normal(rng, min(batch, 16), 20, 20)
    return Family(FeasibleSet([cp.diag(x) == 1], x, on_failure="nan"), (points + points.mT) / 2)


def spectral(rng: np.random.Generator, batch: int) -> Family:
    x = cp.Variable((12, 8))
    limits = [cp.sigma_max(x) <= 1, x <= 0.2, x >= -0.2]
    return Family(FeasibleSet(limits, x, on_failure="nan"), _normal(rng, min(batch, 8), 12, 8))


def powers(rng: np.random.Generator, batch: int) -> Family:
    x = cp.Variable(6, nonneg=True)
    return Family(FeasibleSet([cp.sum(cp.power(x, 3)) <= 5], x, on_failure="nan"), 2 * _normal(rng, batch, 6))


FAMILIES: dict[str, Callable[[np.random.Generator, int], Family]] = {
    function.__name__: function
    for function in (control_barrier, entropy, kl_ball, portfolio, ellipsoid, correlation, spectral, powers)
}


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape))


def clarabel_time(family: Family, ours: Tensor) -> float:
    """Return the median of Clarabel's solve times in ms; raise AssertionError where its points are nearer than ours."""
    clarabel: Any = import_module("clarabel")
    (variable,), times = family.feasible_set.variables, []
    for k in range(min(_CHECKED, len(family.points))):
        for parameter, value in zip(family.feasible_set.parameters, family.values, strict=True):
            parameter.value = value[k].numpy()
        point = family.points[k].numpy()
        problem = cp.Problem(cp.Minimize(cp.sum_squares(variable - point) / 2), family.feasible_set.constraints)
        data: dict[str, Any] = problem.get_problem_data(cp.CLARABEL)[0]
        size, settings = data["A"].shape[1], clarabel.DefaultSettings()
        settings.verbose = False
        square = sp.csc_matrix(sp.triu(data["P"])) if "P" in data else sp.csc_matrix((size, size))
        rows, cones = sp.csc_matrix(data["A"]), dims_to_solver_cones(data["dims"])
        solver = clarabel.DefaultSolver(square, data["c"], rows, data["b"], cones, settings)
        start = time.perf_counter()
        solver.solve()
        times.append(1e3 * (time.perf_counter() - start))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(cp.CLARABEL)
        scale = max(1.0, float(np.abs(point).max()))
        gap = np.linalg.norm(ours[k].numpy() - point) - np.linalg.norm(np.asarray(variable.value) - point)
        assert gap <= _CLOSE * scale, f"sample {k} is farther from its point than Clarabel's by {gap:.1e}"
    return float(np.median(times))


def our_time(family: Family, samples: int, repetitions: int) -> tuple[float, int]:
    """Return the least time of a call with its backward pass in ms, and how many samples are solved."""
    points, times = family.points[:samples].clone().requires_grad_(), []
    for _ in range(repetitions):
        points.grad = None
        start = time.perf_counter()
        family.bound(samples).project(points).square().sum().backward()
        times.append(1e3 * (time.perf_counter() - start))
    solution = family.bound(samples).solve(points.detach())
    return min(times), int(solution.solved.sum())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", help="file in results/")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.families:
        family = FAMILIES[name](np.random.default_rng(0), max(options.batches))
        everything = family.bound(len(family.points)).project(family.points)
        peer = clarabel_time(family, everything)
        for batch in sorted({min(batch, len(family.points)) for batch in options.batches}):
            milliseconds, solved = our_time(family, batch, options.repetitions)
            ratio = milliseconds / batch / peer
            rows.append([name, str(batch), f"{milliseconds:.2f}", f"{peer:.3f}", f"{ratio:.2f}", f"{solved} / {batch}"])
            print(*rows[-1], flush=True)
    titles = ["set", "batch", "ours, ms a batch", "Clarabel, ms a sample", "ours / Clarabel, a sample", "solved"]
    publish(f"{heading('Sets with cones, forward and backward')}\n{table(titles, rows)}", options.output)


if __name__ == "__main__":
    main()
