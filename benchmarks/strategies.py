"""All strategies on the same convex problems: objective, violation and time, beside the optimum of Clarabel.

Run with `python benchmarks/strategies.py`; `--plot FILE` draws objective and violation by step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from convex_training import PROBLEMS, Convex
from report import heading, publish, row, table
from torch import Tensor, nn

from optlayers.training.constrain import ConstrainedTensor, Strategy, constrain
from optlayers.training.schedules.schedules import geometric

_TITLES = ("problem", "strategy", "objective - optimum", "violation", "objective - optimum, finished", "ms a step")


@dataclass
class Run:
    """One strategy on one problem: what was reached after each step, and at what cost."""

    label: str
    gaps: list[float] = field(default_factory=list)
    violations: list[float] = field(default_factory=list)
    finished: float = float("nan")
    seconds: float = float("nan")
    note: str = ""


def strategies(lipschitz: float) -> list[tuple[str, Strategy, dict[str, Any], float]]:
    """Return a name, the strategy, its options, and by how much its term steepens the objective."""
    weight = 10.0 * lipschitz
    return [
        ("projection", "projection", {}, 0.0),
        ("reparametrization, projected", "reparametrization", {"how": "projection"}, 0.0),
        ("reparametrization, smooth", "reparametrization", {"how": "smooth", "margin": 1e-2}, 0.0),
        ("penalty, quadratic", "penalty", {"weight": weight}, weight),
        ("penalty, quadratic, growing", "penalty", {"weight": geometric(weight, 2.0, every=200)}, weight),
        ("penalty, exact", "penalty", {"kind": "exact", "weight": weight}, 0.0),
        ("augmented Lagrangian", "augmented_lagrangian", {"weight": weight, "every": 20}, weight),
    ]


def train(problem: Convex, held: ConstrainedTensor, module: nn.Module, run: Run, steps: int, steepness: float) -> None:
    """Run gradient descent with the step 1/L of what is minimised; time what the strategy adds as well."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    began = time.perf_counter()
    for _ in range(steps):
        penalty = getattr(held, "penalty", None)
        curvature = problem.lipschitz + steepness
        if penalty is not None and penalty.kind == "quadratic":
            curvature = problem.lipschitz + penalty.weight
        optimizer.param_groups[0]["lr"] = 1.0 / curvature
        if penalty is not None and penalty.kind == "exact":  # its kink asks for steps that vanish
            optimizer.param_groups[0]["lr"] = 1.0 / (curvature * (1 + 0.1 * len(run.gaps)))
        optimizer.zero_grad()
        objective = problem.objective(held.tensor)
        held(objective).backward()
        run.gaps.append(float(objective.detach()) - problem.value)
        run.violations.append(float(held.violation()))
        optimizer.step()
        held.step()
    run.seconds = (time.perf_counter() - began) / steps
    held.finish()
    run.finished = float(problem.objective(held.tensor.detach())) - problem.value


class Weight(nn.Module):
    """A module with one parameter."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())


def runs_of(problem: Convex, steps: int) -> list[Run]:
    """Return one run for each strategy; those that a set has no form of say so."""
    runs = []
    for label, strategy, options, steepness in strategies(problem.lipschitz):
        run, module = Run(label), Weight(problem.start)
        runs.append(run)
        try:
            held = constrain(module, "weight", problem.constraints, strategy, **options)
        except ValueError as error:
            run.note = str(error).split(":")[0]
            continue
        train(problem, held, module, run, steps, steepness)
    return runs


def cells(name: str, run: Run) -> list[str]:
    """Return a row of the table."""
    if not run.gaps:
        return [name, run.label, "no smooth map", "", "", ""]
    numbers = (f"{value:.1e}" for value in (run.gaps[-1], run.violations[-1], run.finished))
    return [name, run.label, *numbers, f"{1e3 * run.seconds:.2f}"]


def draw(found: dict[str, list[Run]], path: str) -> None:
    """Plot the distance to the optimal value and the violation by step."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(found), figsize=(4 * len(found), 6), squeeze=False, sharex=True)
    for column, (name, runs) in enumerate(found.items()):
        for run in runs:
            for axis, values in zip(axes[:, column], (run.gaps, run.violations), strict=True):
                axis.semilogy([max(abs(value), 1e-16) for value in values], label=run.label)
        axes[0, column].set_title(name.replace("_", " "))
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("|objective - optimum|")
    axes[1, 0].set_ylabel("violation")
    axes[1, -1].legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--plot", help="draw to this file")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    found = {name: runs_of(make(), arguments.steps) for name, make in PROBLEMS.items()}
    rows = [cells(name, run) for name, runs in found.items() for run in runs]
    for line in rows:
        print(row(line), flush=True)
    if arguments.plot:
        draw(found, arguments.plot)
    note = f"{arguments.steps} steps of gradient descent, float64; the step is 1/L of what is minimised."
    publish("\n".join([heading("Strategies"), note, "", table(_TITLES, rows)]), arguments.output)


if __name__ == "__main__":
    main()
