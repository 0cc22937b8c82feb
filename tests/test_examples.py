"""The examples run from start to end, on a short training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_digits(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / "digits.py")]
    command += ["--epochs", "1", "--output", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    for expected in (
        "capped simplex, 24 entries",
        "box, 64 entries",
        "reconstruction error",
        "closed_form",
        "cvxpylayers",
    ):
        assert expected in result.stdout
    for picture in ("archetypes.png", "code.png"):
        assert (tmp_path / picture).stat().st_size > 10_000


def test_dc_opf(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / "dc_opf.py")]
    command += ["--epochs", "1", "--loads", "64", "--tests", "8", "--output", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    for expected in ("general solver", "projection layer", "nominal optimum, projected"):
        assert expected in result.stdout
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("projection layer"))
    assert float(row.split()[-1]) < 1e-6  # MW
    assert (tmp_path / "dispatch.png").stat().st_size > 10_000


def test_fair_classification(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / "fair_classification.py")]
    command += ["--size", "1000", "--steps", "200", "--output", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert [picture.stat().st_size > 10_000 for picture in tmp_path.glob("*.png")] == [True]


@pytest.mark.slow
def test_projected_adam() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / "projected_adam.py")]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    assert "cleared" in result.stdout
