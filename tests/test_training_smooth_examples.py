"""The examples on stalled gradients and on Dirichlet posteriors run, on a short training."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _lines(name: str, steps: int) -> list[str]:
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / name), "--steps", str(steps)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.splitlines()


def test_stalled_gradients() -> None:
    gaps = {}
    for line in _lines("stalled_gradients.py", 600):
        if line.startswith("simplex"):
            gaps[line[10:40].strip()] = float(line[40:56])
    assert gaps.pop("exact") > 0.05
    assert len(gaps) == 3
    assert max(gaps.values()) < 5e-3


def test_dirichlet_topics() -> None:
    lines = _lines("dirichlet_topics.py", 400)
    divergence = {line[:18].strip(): float(line.split()[-1]) for line in lines[1:4]}
    assert divergence["Dirichlet"] < 0.05
    assert divergence["logistic-normal"] < 0.1
