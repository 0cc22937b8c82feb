"""Closed forms beside cvxpylayers and `torch.softmax`, in one run, forward and with gradient.

Each pair of timings is taken in turn on the same data, and the ratio is what counts; the values are compared first, and
no time is printed for a wrong one. Run with `python benchmarks/speed.py`.
"""

from __future__ import annotations

import contextlib
import io

import cvxpy as cp
import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from optlayers import FeasibleSet, compare


def against_cvxpylayers() -> None:
    """Print ratios of the times of cvxpylayers and of the closed form, batch 128."""
    x = cp.Variable(20)
    weights = torch.linspace(0.5, 2.0, 20).double().numpy()
    sets = {
        "box": [x >= -0.5, x <= 0.5],
        "simplex": [x >= 0, cp.sum(x) == 1],
        "capped simplex": [x >= 0, x <= 0.2, cp.sum(x) == 1],
        "knapsack, weighted": [x >= 0, x <= 1, weights @ x <= 2],
        "half-space": [weights @ x <= 1],
        "L2 ball": [cp.norm(x) <= 1],
        "ellipsoid": [cp.norm(cp.multiply(weights, x)) <= 1],
    }
    print("| set, 128 x 20, float64 | cvxpylayers / closed form, forward | with gradient | difference |")
    print("|---|---|---|---|")
    for name, constraints in sets.items():
        feasible_set = FeasibleSet(constraints, x)
        v = torch.randn(128, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        with contextlib.redirect_stdout(io.StringIO()):
            ours, *_, theirs = compare(feasible_set, v).results
        if ours.value_difference > 1e-3:
            print(f"| {name} | wrong: {ours.value_difference:.1e} |")
            continue
        ratios = f"{theirs.forward / ours.forward:.0f} | {theirs.backward / ours.backward:.0f}"
        print(f"| {name} | {ratios} | {ours.value_difference:.0e} |")


def against_softmax() -> None:
    """Print ratios of the times of the simplex projection and of softmax."""
    print("| simplex, float32 | projection / softmax, forward | with gradient |\n|---|---|---|")
    for rows, n in ((1024, 10), (1024, 100), (1024, 1000), (64, 100_000)):
        x = cp.Variable(n)
        feasible_set = FeasibleSet([x >= 0, cp.sum(x) == 1])
        v = torch.randn(rows, n, generator=torch.Generator().manual_seed(0)).requires_grad_()
        weight = torch.randn(rows, n)
        times = []
        for project in (feasible_set.project, lambda v: torch.softmax(v, -1)):
            scope = {"project": project, "v": v, "weight": weight, "grad": torch.autograd.grad}
            for statement in ("project(v.detach())", "grad((project(v) * weight).sum(), v)"):
                timer = Timer(statement, globals=scope, num_threads=torch.get_num_threads())
                times.append(timer.blocked_autorange(min_run_time=1.0).median)
        check_simplex(feasible_set.project(v.detach()))
        print(f"| {rows} x {n} | {times[0] / times[2]:.0f} | {times[1] / times[3]:.0f} |")


def check_simplex(y: Tensor) -> None:
    if float((y.sum(-1) - 1).abs().max()) > 1e-5 or float(y.min()) < 0:
        raise AssertionError("not in the simplex")


if __name__ == "__main__":
    against_cvxpylayers()
    print()
    against_softmax()
