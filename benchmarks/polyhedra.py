"""124 real polyhedra, three points each: how many projections are right, and in what time, beside QP solvers.

Values are compared with certified ones, derivatives along a direction too; a sample that is called solved and is not
right counts on its own. The data is not part of the repository: `--data` or OPTLAYERS_DATA says where it is. Run with
`OMP_NUM_THREADS=1 python benchmarks/polyhedra.py`.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from qp_solvers import SOLVERS, Answer, Rows
from report import brief, heading, in_process, publish, row, table, time_limit
from torch import Tensor

from optlayers import FeasibleSet

_RIGHT, _RIGHT_DERIVATIVE = 1e-7, 1e-5  # relative to the scale of the set; of the direction's derivative
_OURS = "optlayers"
_TITLES = (
    *("method", "sets", "points", "solved", "right", "called solved but wrong", "better"),
    *("derivatives right", "total, s"),
)
_LINE = (
    *("set", "n", "rows", "method", "solved", "right", "wrong", "better", "error", "derivatives"),
    *("build, s", "project, s", "note"),
)


@dataclass(frozen=True)
class Sample:
    """One set of the data, with its points and their certified projections and derivatives."""

    name: str
    rows: Rows
    points: np.ndarray
    projections: np.ndarray
    directions: np.ndarray
    derivatives: np.ndarray
    judged: np.ndarray
    smooth: np.ndarray
    scale: float

    @classmethod
    def load(cls, path: Path) -> Sample:
        with np.load(path) as d:
            A = sp.csr_matrix((d["A_data"], d["A_indices"], d["A_indptr"]), shape=tuple(d["A_shape"]))
            judged = d["cert_bound"] <= _RIGHT
            rows = Rows(A, d["l"], d["u"], d["lb"], d["ub"])
            smooth = d["jvp_ok"] & judged
            return cls(path.stem, rows, d["V"], d["X"], d["D"], d["JD"], judged, smooth, float(d["scale"]))

    def errors(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x - self.projections).max(-1) / self.scale

    def beats_reference(self, x: np.ndarray) -> np.ndarray:
        """Whether points are no farther than the certified ones, up to rounding, and no less feasible."""
        own, other = (np.linalg.norm(y - self.points, axis=-1) for y in (x, self.projections))
        nearer = own <= other * (1 + 1e-13)
        return nearer & (self.rows.violations(x) <= self.rows.violations(self.projections) + 1e-12 * self.scale)

    def derivative_errors(self, along: np.ndarray) -> np.ndarray:
        size = np.maximum(1.0, np.abs(self.derivatives).max(-1))
        return np.abs(along - self.derivatives).max(-1) / size

    def constraints(self, x: cp.Variable) -> list[cp.Constraint]:
        """Return the constraints as a user would write them: equalities apart, and finite sides only."""
        constraints: list[cp.Constraint] = []
        for map_, low, high in ((self.rows.A, self.rows.low, self.rows.high), (None, self.rows.lb, self.rows.ub)):
            equal = low == high
            for which, build in (
                (equal, lambda y, k, low=low: y == low[k]),
                (np.isfinite(low) & ~equal, lambda y, k, low=low: y >= low[k]),
                (np.isfinite(high) & ~equal, lambda y, k, high=high: y <= high[k]),
            ):
                chosen = np.flatnonzero(which)
                if chosen.size:
                    constraints.append(build(x[chosen] if map_ is None else map_[chosen] @ x, chosen))
        return constraints


@dataclass
class Outcome:
    """What one method did on one set."""

    sample: Sample
    method: str
    note: str = ""
    solved: int = 0
    right: int = 0
    wrong: int = 0
    better: int = 0
    error: float = float("nan")
    derivatives: int = 0
    build: float = 0.0
    project: float = 0.0

    def judge(self, x: np.ndarray, solved: np.ndarray) -> None:
        errors, judged = self.sample.errors(x), self.sample.judged
        better = self.sample.beats_reference(x)
        right = judged & ((errors <= _RIGHT) | better)
        self.better = int((judged & solved & (errors > _RIGHT) & better).sum())
        self.solved, self.right = int(solved.sum()), int((right & solved).sum())
        self.wrong = int((judged & solved & ~right).sum())
        if (judged & solved).any():
            self.error = float(errors[judged & solved].max())

    def cells(self) -> list[str]:
        counts = [
            str(self.solved),
            f"{self.right}/{self.sample.judged.sum()}",
            str(self.wrong),
            str(self.better),
            "" if np.isnan(self.error) else f"{self.error:.0e}",
        ]
        derivatives = f"{self.derivatives}/{self.sample.smooth.sum()}" if self.method == _OURS else ""
        times = [f"{self.build:.3f}", f"{self.project:.3f}"]
        head = [self.sample.name, str(len(self.sample.rows.lb)), str(len(self.sample.rows.low)), self.method]
        return [*head, *counts, derivatives, *times, self.note]


def run_ours(sample: Sample, limit: float) -> Outcome:
    outcome = Outcome(sample, _OURS)
    points, directions = torch.from_numpy(sample.points), torch.from_numpy(sample.directions)
    try:
        with time_limit(limit):
            start = time.perf_counter()
            x = cp.Variable(points.shape[-1])
            feasible_set = FeasibleSet(sample.constraints(x), x, on_failure="nan")
            middle = time.perf_counter()
            solution = feasible_set.solve(points)
            outcome.build, outcome.project = middle - start, time.perf_counter() - middle
            outcome.judge(torch.as_tensor(solution.value).numpy(), solution.solved.numpy())
            outcome.note = feasible_set.method
            errors = sample.derivative_errors(derivative(feasible_set.project, points, directions).numpy())
            outcome.derivatives = int((sample.smooth & (errors <= _RIGHT_DERIVATIVE)).sum())
    except Exception as error:  # a failure is a result, of whatever kind
        outcome.note = brief(error)
    return outcome


def derivative(project: Callable[[Tensor], Tensor], points: Tensor, directions: Tensor) -> Tensor:
    """Return each sample's derivative along its direction; J is symmetric, so reverse mode serves as well."""
    try:
        return torch.func.jvp(project, (points,), (directions,))[1]
    except NotImplementedError:
        leaf = points.clone().requires_grad_()
        return torch.autograd.grad(project(leaf), leaf, directions)[0]


def run_peer(sample: Sample, method: str, limit: float) -> Outcome:
    outcome = Outcome(sample, method)
    package, solve = SOLVERS[method]
    if find_spec(package) is None:
        outcome.note = "not installed"
        return outcome
    try:
        answers, outcome.project = in_process(partial(_timed, solve, sample), limit)
        outcome.judge(np.stack([a.x for a in answers]), np.array([a.solved for a in answers]))
    except (RuntimeError, TimeoutError) as error:
        outcome.project, outcome.note = limit * isinstance(error, TimeoutError), brief(error)
    return outcome


def _timed(solve: Callable[[Rows, np.ndarray], list[Answer]], sample: Sample) -> tuple[list[Answer], float]:
    start = time.perf_counter()
    answers = solve(sample.rows, sample.points)
    return answers, time.perf_counter() - start


def summary(outcomes: list[Outcome]) -> str:
    """Return one line a method, over all sets."""
    lines = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        own = [o for o in outcomes if o.method == method]
        judged = sum(int(o.sample.judged.sum()) for o in own)
        smooth = sum(int(o.sample.smooth.sum()) for o in own)
        points = sum(len(o.sample.points) for o in own)
        tallies = ((o.solved, o.right, o.wrong, o.better) for o in own)
        solved, right, wrong, better = (sum(column) for column in zip(*tallies, strict=True))
        counts = [str(solved), f"{right}/{judged}", str(wrong), str(better)]
        derivatives = f"{sum(o.derivatives for o in own)}/{smooth}" if method == _OURS else ""
        total = sum(o.build + o.project for o in own)
        lines.append([method, str(len(own)), str(points), *counts, derivatives, f"{total:.1f}"])
    return table(_TITLES, lines)


def main() -> None:
    """Run all sets; print a line as it comes, and a summary at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("OPTLAYERS_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder that holds polyhedra/")
    parser.add_argument("--only", default="*", help="a pattern of names, such as 'DC_*'")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for each method on each set")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = sorted(p for p in (arguments.data / "polyhedra").glob("*.npz") if fnmatch.fnmatch(p.stem, arguments.only))
    if not paths:
        parser.error(f"no sets match in {arguments.data / 'polyhedra'}")
    outcomes: list[Outcome] = []
    print(table(_LINE, []))
    for path in paths:
        sample = Sample.load(path)
        methods = [partial(run_ours, sample, arguments.limit)]
        if not arguments.skip_peers:
            methods += [partial(run_peer, sample, method, arguments.limit) for method in SOLVERS]
        for method in methods:
            outcomes.append(method())
            print(row(outcomes[-1].cells()), flush=True)
    notes = (
        "`right`: called solved and within 1e-7 of the certified projection, relative to the scale of the set, of "
        "those whose certificate allows to judge, or else no farther and no less feasible than it, which `better` "
        "counts: there it is the certified point that errs; `wrong`: called solved, but not right. Times are of "
        "construction and of three projections; for the peers from the matrices, or the limit where they ran into it."
    )
    lines = table(_LINE, [o.cells() for o in outcomes])
    publish("\n".join([heading("Polyhedra"), notes, "", summary(outcomes), "", lines]), arguments.output)


if __name__ == "__main__":
    main()
