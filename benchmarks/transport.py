"""Projections onto doubly stochastic matrices, with gradient: optlayers and its peers, on the same data, in one run.

Every answer is checked first: sums, bounds, and the gap of optimality, ``max_z <v - y, z - y>``, which is an assignment
problem. No time is reported for a wrong answer; failures are. The peers come with `pip install "optlayers[peers]"`.
Run on one core: `OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/transport.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from report import brief, heading, publish, row, table, time_limit
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from optlayers import FeasibleSet

Project = Callable[[Tensor], Tensor]
_GATE = {"optlayers": 1e-9, "optlayers, general solver": 1e-9}  # of the error, relative to the points
_PEER_GATE = 1e-2
_ROUNDS = 5
_GENERAL_UP_TO, _PEERS_UP_TO = 500, 500  # entries
_TITLES = ("baseline", "forward, ms", "with gradient, ms", "ratio", "error", "set-up, s", "note")


def _declare(n: int) -> tuple[cp.Variable, list[Any]]:
    x = cp.Variable((n, n))
    return x, [x >= 0, cp.sum(x, axis=1) == 1, cp.sum(x, axis=0) == 1]


def _optlayers(n: int) -> Project:
    x, constraints = _declare(n)
    return FeasibleSet(constraints, x, method="closed_form").project


def _general(n: int) -> Project:
    x, constraints = _declare(n)
    return FeasibleSet(constraints, x, method="general").project


def _diffcp(n: int) -> Project:
    layers = import_module("cvxpylayers.torch.cvxpylayer")
    x, constraints = _declare(n)
    point = cp.Parameter((n, n))
    objective = cp.Minimize(0.5 * cp.sum_squares(x) - cp.sum(cp.multiply(point, x)))
    arguments = {"n_jobs_forward": torch.get_num_threads(), "solve_method": "Clarabel"}
    layer = layers.CvxpyLayer(
        cp.Problem(objective, constraints), parameters=[point], variables=[x], solver_args=arguments
    )
    return lambda v: layer(v)[0]


def _qplayer(n: int) -> Project:
    function = import_module("proxsuite.torch.qplayer").QPFunction
    solve = function(eps=1e-11, maxIter=10_000, eps_backward=1e-9, rho_backward=1e-10, mu_backward=1e-10)
    ones, eye = torch.ones(n), torch.eye(n)
    sums = torch.cat([torch.kron(eye, ones), torch.kron(ones, eye)])[:-1]  # one sum follows from the others
    identity, below = torch.eye(n * n), torch.full((n * n,), -1e20)
    right, zero = torch.ones(2 * n - 1), torch.zeros(n * n)
    return lambda v: solve(identity, -v.flatten(1), sums, right, -identity, below, zero)[0].reshape(v.shape)


BASELINES: dict[str, tuple[str, Callable[[int], Project], int]] = {
    "optlayers": ("optlayers", _optlayers, 10**9),
    "optlayers, general solver": ("optlayers", _general, _GENERAL_UP_TO),
    "cvxpylayers, diffcp, Clarabel": ("diffcp", _diffcp, _PEERS_UP_TO),
    "QPLayer (ProxSuite)": ("proxsuite", _qplayer, _PEERS_UP_TO),
}


def error(v: np.ndarray, y: np.ndarray) -> float:
    """Return a bound on the error of projections, relative to the points."""
    worst = 0.0
    for own, point in zip(v, y, strict=True):
        size = max(1.0, float(np.abs(own).max()))
        infeasibility = max(np.abs(point.sum(k) - 1).max() for k in (0, 1))
        infeasibility = max(infeasibility, -float(point.min()))
        slope = own - point
        best = slope[linear_sum_assignment(-slope)].sum()  # of all doubly stochastic matrices, a permutation
        gap = best - float((slope * point).sum())
        if not np.isfinite(gap):
            return np.inf
        worst = max(worst, infeasibility / size, abs(gap) / (size * size * len(own)))
    return worst


def run(batch: int, n: int, scale: float, arguments: argparse.Namespace) -> list[list[str]]:
    points = scale * torch.randn(batch, n, n, generator=torch.Generator().manual_seed(0))
    v, weights = points.clone().requires_grad_(), torch.randn(batch, n, n, generator=torch.Generator().manual_seed(1))
    chosen: dict[str, Project] = {}
    rows: dict[str, dict[str, str]] = {}
    for name, (package, build, most) in BASELINES.items():
        cells = rows.setdefault(name, {"baseline": name})
        if arguments.baselines not in name and name != "optlayers":
            cells["note"] = "not asked for"
        elif find_spec(package) is None:
            cells["note"] = "not installed"
        elif n * n > most:
            cells["note"] = "too large"
        else:
            try:
                with time_limit(arguments.limit):
                    start = time.perf_counter()
                    project = build(n)
                    cells["set-up, s"] = f"{time.perf_counter() - start:.2f}"
                    y = project(v)
                    torch.autograd.grad((y * weights).sum(), v)
            except Exception as failure:  # the failures of peers are results, of whatever kind
                cells["note"] = brief(failure)
                continue
            amount = error(points.numpy(), y.detach().numpy())
            cells["error"] = f"{amount:.0e}"
            if amount <= _GATE.get(name, _PEER_GATE):
                chosen[name] = project
            else:
                cells["note"] = "wrong: not timed"
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in chosen}
    for _ in range(_ROUNDS):
        for name, project in chosen.items():
            forward, gradient = times[name]
            if sum(gradient) > arguments.seconds and len(gradient) > 1:
                continue
            start = time.perf_counter()
            project(points)
            middle = time.perf_counter()
            torch.autograd.grad((project(v) * weights).sum(), v)
            forward.append(middle - start)
            gradient.append(time.perf_counter() - middle)
    for name, (forward, gradient) in times.items():
        rows[name] |= {
            "forward, ms": f"{1e3 * statistics.median(forward):.4g}",
            "with gradient, ms": f"{1e3 * statistics.median(gradient):.4g}",
        }
        if "optlayers" in times:
            rows[name]["ratio"] = f"{statistics.median(gradient) / statistics.median(times['optlayers'][1]):.3g}"
    return [[cells.get(title, "") for title in _TITLES] for cells in rows.values()]


def main() -> None:
    """Run what is asked for; print a line as it comes, and one table at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the benchmark")
    parser.add_argument("--baselines", default="", help="only baselines whose name contains this, and optlayers")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each timing, about")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for the first run of a baseline")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)  # QPLayer returns gradients of the default type
    warnings.simplefilter("ignore")
    sizes = [(128, 10, 3.0), (128, 10, 100.0), (128, 20, 3.0), (1, 100, 3.0), (1, 500, 3.0)]
    rows = []
    for batch, n, scale in [(4, 4, 3.0)] if arguments.quick else sizes:
        for cells in run(batch, n, scale, arguments):
            rows.append([f"{batch} of {n} x {n}, {scale:g}", *cells])
            print(row(rows[-1]), flush=True)
    notes = "Points are Gaussian with the standard deviation that is named. Ratios are of the times with gradient."
    text = "\n".join([heading("Doubly stochastic matrices"), notes, "", table(("problem", *_TITLES), rows)])
    publish(text, arguments.output)


if __name__ == "__main__":
    main()
