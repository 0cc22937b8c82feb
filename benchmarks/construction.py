"""The compilation gate: 100 variables with 200 dense rows in under half a second; and how construction scales.

Run with `python benchmarks/construction.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cvxpy as cp
import numpy as np

from optlayers import FeasibleSet
from optlayers.compiler.canonicalise import compile_constraints
from optlayers.compiler.presolve import presolve
from optlayers.declaration.snapshot import Snapshot
from optlayers.recognition.blocks import decompose


def dense_rows() -> None:
    x, b = cp.Variable(100), cp.Parameter(200)
    matrix = np.random.default_rng(0).normal(size=(200, 100))
    decompose(presolve(compile_constraints(Snapshot.of([matrix @ x <= b, x >= 0], [x], [b], range(2)))[0]))


def simplex(n: int) -> None:
    x = cp.Variable(n)
    FeasibleSet([x >= 0, cp.sum(x) == 1])


def row_simplexes(m: int, n: int) -> None:
    x = cp.Variable((m, n))
    FeasibleSet([x >= 0, cp.sum(x, axis=1) == 1])


def seconds(build: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        build()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print the median of five constructions of each kind."""
    sets: dict[str, Callable[[], None]] = {
        "100 variables, 200 dense rows, parametric right-hand side (gate: 0.5 s)": dense_rows,
        "simplex, 1 000 entries": lambda: simplex(1_000),
        "simplex, 100 000 entries": lambda: simplex(100_000),
        "100 row simplexes of 100 entries": lambda: row_simplexes(100, 100),
        "1 000 row simplexes of 100 entries": lambda: row_simplexes(1_000, 100),
    }
    print("| set | seconds |\n|---|---|")
    for name, build in sets.items():
        print(f"| {name} | {seconds(build):.3f} |")


if __name__ == "__main__":
    main()
