"""What `project_after_step` adds to an Adam step on 10 million weights: `python benchmarks/training_overhead.py`.

10000 rows of 1000 entries, each on the simplex, float32. Steps with and without the projection are timed in turns, so
that a shared machine disturbs both alike; printed are medians of `optimizer.step()` alone, and of forward and backward
pass of a linear layer and the step, and their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import cvxpy as cp
import torch
from report import heading, publish, row, table
from torch import nn

from optlayers import FeasibleSet
from optlayers.training.projected.project_after_step import project_after_step

ROWS, ENTRIES = 10_000, 1_000
VARIANTS: dict[str, dict[str, Any]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def measure(rounds: int, batch: int, variant: dict[str, Any]) -> tuple[float, float]:
    """Return the median seconds of a step without and with the projection."""
    x = cp.Variable(ENTRIES)
    own = FeasibleSet([x >= 0, cp.sum(x) == 1])
    weights = [nn.Parameter(torch.rand(ROWS, ENTRIES).log_softmax(-1).exp()) for _ in range(2)]
    optimizers = [torch.optim.Adam([weight], 1e-4, **variant) for weight in weights]
    project_after_step(optimizers[1], {weights[1]: own})
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        gradient, inputs = torch.randn(ROWS, ENTRIES), torch.randn(batch, ENTRIES)
        for weight, optimizer, own_times in zip(weights, optimizers, times, strict=True):
            weight.grad = gradient
            start = time.perf_counter()
            if batch:
                optimizer.zero_grad()
                nn.functional.linear(inputs, weight).square().mean().backward()
            optimizer.step()
            if number:  # the first step makes the state
                own_times.append(time.perf_counter() - start)
    assert bool(own.contains(weights[1].detach(), atol=1e-5).all())
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Measure both kinds of steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128, help="samples of the forward and backward pass")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for batch in (0, arguments.batch):
        for name, variant in VARIANTS.items():
            plain, projected = measure(arguments.rounds, batch, variant)
            what = f"forward and backward of {batch} samples, step" if batch else "step"
            rows.append([name, what, f"{1e3 * plain:.1f}", f"{1e3 * projected:.1f}", f"{projected / plain - 1:.1%}"])
            print(row(rows[-1]), flush=True)
    notes = f"{ROWS} x {ENTRIES} weights, float32, each row on the simplex; medians of {arguments.rounds} in turns."
    titles = ("Adam", "timed", "without, ms", "with the projection, ms", "added")
    publish("\n".join([heading("What a projection adds to a step"), notes, "", table(titles, rows)]), arguments.output)


if __name__ == "__main__":
    main()
