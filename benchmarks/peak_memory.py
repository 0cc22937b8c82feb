"""Peak memory of one baseline on one problem: how far forward and backward raise the resident set, in MiB; Linux only.

A process for each measurement, so that none finds memory that another has left; `general.py` starts them. By hand:
`python benchmarks/peak_memory.py "polyhedron 50/50/10, batch 4096" optlayers`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from baselines import BASELINES
from problems import PROBLEMS


def peak_memory(problem: str, baseline: str, quick: bool, seconds: float) -> float:
    """Measure in a process of its own.

    Raises
    ------
    RuntimeError
        If it fails.
    TimeoutError
        If it takes too long.
    """
    command = [sys.executable, __file__, problem, baseline, *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"over {seconds:g} s") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError((error.stderr or "crashed").splitlines()[-1]) from None
    return float(done.stdout.splitlines()[-1])


def measure(problem: str, baseline: str, quick: bool) -> float:
    made = PROBLEMS[problem](quick)
    points = made.tensor()
    project = BASELINES[baseline].build(made)
    project(points[:1]).sum().backward()
    Path("/proc/self/clear_refs").write_text("5")  # lowers the mark, which the imports have raised, to what is in use
    before = _mark()
    project(points).sum().backward()
    return (_mark() - before) / 1024


def _mark() -> int:
    """Return the largest resident set in KiB; `getrusage` would include that of the parent process."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    """Print the number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("baseline", choices=BASELINES)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore")
    print(measure(arguments.problem, arguments.baseline, arguments.quick))


if __name__ == "__main__":
    main()
