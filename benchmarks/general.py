"""Projections with gradient on sets without closed form: optlayers and its peers, on the same data, in one run.

Values and gradients are compared with certified ones first; then the baselines are timed in turn, and the ratios to
optlayers are what counts. No time is reported for a wrong answer. The peers come with
`pip install "optlayers[peers]"`. Run on one core: `OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/general.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from baselines import BASELINES, Baseline, Project
from certified import Certified, certify
from peak_memory import peak_memory
from problems import PROBLEMS, Problem
from report import brief, heading, publish, row, table, time_limit
from torch import Tensor
from torch.utils.benchmark import Timer

_PEER_GATE = 1e-2  # relative error beyond which a peer is not timed; optlayers has to keep its promise
_GRADIENT_GATE = 1e-4  # of optlayers; peers are timed whatever their gradient, which is printed
_SLOW = 2.0  # seconds beyond which one run has to do
_ROUNDS = 5
_OURS = "optlayers"
_TITLES = (
    "baseline",
    "forward, ms",
    "with gradient, ms",
    "ratio",
    "solved",
    "wrong",
    "error",
    "gradient error",
    "set-up, s",
    "memory, MiB",
    "note",
)


@dataclass
class Entrant:
    """One baseline on one problem, and what is known of it so far."""

    name: str
    note: str = ""
    project: Project | None = None
    set_up: float = float("nan")
    error: float = float("nan")
    gradient_error: float = float("nan")
    solved: float = float("nan")
    wrong: float = float("nan")
    memory: float = float("nan")
    slow: bool = False
    forward: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)

    def cells(self, ours: float) -> list[str]:
        forward, gradient = (_median(times) for times in (self.forward, self.gradient))
        times = [_format(1e3 * forward, ".4g"), _format(1e3 * gradient, ".4g"), _format(gradient / ours, ".3g")]
        shares = [_format(self.solved, ".1%"), _format(self.wrong, ".1%")]
        errors = [_format(self.error, ".0e"), _format(self.gradient_error, ".0e")]
        return [
            self.name,
            *times,
            *shares,
            *errors,
            _format(self.set_up, ".2f"),
            _format(self.memory, ".0f"),
            self.note,
        ]


def _format(value: float, how: str) -> str:
    return "" if np.isnan(value) else format(value, how)


def _median(times: list[float]) -> float:
    return statistics.median(times) if times else float("nan")


def enter(baseline: Baseline, problem: Problem, certified: Certified, weights: Tensor, limit: float) -> Entrant:
    """Build a baseline and check it, once; failures become notes."""
    entrant = Entrant(baseline.name)
    if not baseline.installed:
        entrant.note = "not installed"
        return entrant
    if baseline.polyhedra_only and problem.polyhedron is None:
        entrant.note = "polyhedra only"
        return entrant
    points = problem.tensor()
    try:
        with time_limit(limit):
            start = time.perf_counter()
            project = baseline.build(problem)
            project(points[:1].detach())
            entrant.set_up = time.perf_counter() - start
            start = time.perf_counter()
            y = project(points)
            middle = time.perf_counter()
            (gradient,) = torch.autograd.grad((y * weights).sum(), points)
            end = time.perf_counter()
    except Exception as error:  # the failures of peers are results, of whatever kind
        entrant.note = brief(error)
        return entrant
    judge(entrant, problem, certified, y.detach().numpy(), gradient.numpy())
    gate = problem.accuracy if baseline.name == _OURS else _PEER_GATE
    if not entrant.error <= gate:
        entrant.note = "wrong: not timed"
        return entrant
    if baseline.name == _OURS and not entrant.gradient_error <= _GRADIENT_GATE:
        entrant.note = "wrong gradient: not timed"
        return entrant
    entrant.project, entrant.slow = project, end - start > _SLOW
    if entrant.slow:
        entrant.forward, entrant.gradient, entrant.note = [middle - start], [end - start], "one run"
    return entrant


def judge(entrant: Entrant, problem: Problem, certified: Certified, y: np.ndarray, gradient: np.ndarray) -> None:
    """Record the largest errors over the samples with an answer, and the shares of solved and wrong ones."""
    batch, known = len(y), np.isfinite(certified.values.reshape(len(y), -1)).all(-1)
    errors, gradient_errors = (
        np.abs(ours - right).reshape(batch, -1).max(-1)[known]
        for ours, right in ((y, certified.values), (gradient, certified.gradients))
    )
    errors = errors / problem.scale[known]
    answered = np.isfinite(errors)
    if answered.any():
        entrant.error, entrant.gradient_error = float(errors[answered].max()), float(gradient_errors[answered].max())
    entrant.solved = float((errors <= problem.accuracy).mean())
    entrant.wrong = float((errors > problem.accuracy).mean())
    if not known.all():
        entrant.note = f"{(~known).sum()} samples without reference"


def time_in_turn(entrants: list[Entrant], points: Tensor, weights: Tensor, seconds: float) -> None:
    """Time all entrants again and again, one after the other."""
    runners = [entrant for entrant in entrants if entrant.project is not None and not entrant.slow]
    for _ in range(_ROUNDS):
        for entrant in runners:
            scope = {"project": entrant.project, "v": points, "weights": weights, "grad": torch.autograd.grad}
            for statement, times in (
                ("project(v.detach())", entrant.forward),
                ("grad((project(v) * weights).sum(), v)", entrant.gradient),
            ):
                timer = Timer(statement, globals=scope, num_threads=torch.get_num_threads())
                times.append(timer.blocked_autorange(min_run_time=seconds).median)


def run(name: str, chosen: list[Baseline], arguments: argparse.Namespace) -> list[list[str]]:
    problem = PROBLEMS[name](arguments.quick)
    weights = np.random.default_rng(7).normal(size=problem.points.shape)
    certified, directions = certify(problem, weights), torch.from_numpy(weights)
    entrants = [enter(baseline, problem, certified, directions, arguments.limit) for baseline in chosen]
    time_in_turn(entrants, problem.tensor(), directions, arguments.seconds / _ROUNDS)
    if "batch 4096" in name:
        for entrant in entrants:
            if entrant.project is not None:
                try:
                    entrant.memory = peak_memory(name, entrant.name, arguments.quick, 2 * arguments.limit)
                except (RuntimeError, TimeoutError) as error:
                    entrant.note = f"memory: {brief(error)}"
    ours = next((_median(entrant.gradient) for entrant in entrants if entrant.name == _OURS), float("nan"))
    return [entrant.cells(ours) for entrant in entrants]


def main() -> None:
    """Run what is asked for; print a line as it comes, and one table at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the benchmark")
    parser.add_argument("--problems", default="", help="only problems whose name contains this")
    parser.add_argument("--baselines", default="", help="only baselines whose name contains this, and optlayers")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each timing, at least")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the first run of a baseline")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)  # QPLayer returns gradients of the default type
    warnings.simplefilter("ignore")
    chosen = [b for b in BASELINES.values() if arguments.baselines in b.name or b.name == _OURS]
    rows: list[list[str]] = []
    for name in PROBLEMS:
        if arguments.problems in name:
            for cells in run(name, chosen, arguments):
                rows.append([name, *cells])
                print(row(rows[-1]), flush=True)
    notes = (
        "Ratios are of the times with gradient, to optlayers. `solved`: within 1e-9 (polyhedra, L1 ball) or 1e-7 "
        "(conic sets) of the certified projection, relative to the scale of the data; `wrong`: answered, but not so. "
        "Errors are the largest of all samples."
    )
    text = "\n".join([heading("General sets"), notes, "", table(("problem", *_TITLES), rows)])
    publish(text, arguments.output)


if __name__ == "__main__":
    main()
