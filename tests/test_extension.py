"""A new closed-form set is one new file: nothing else has to know of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from test_readme import ROOT, python_blocks

import optlayers
from optlayers.sets import REGISTRY

CHECK = """
import cvxpy as cp
from optlayers import FeasibleSet
from optlayers.sets import REGISTRY
from optlayers.testing import cases
x = cp.Variable(3)
print(FeasibleSet([cp.norm(x) <= 1, cp.norm(x - 1) <= 1]).explain())
print([case.name for kind in REGISTRY for case in cases(kind) if kind.__name__ == "Lens"])
"""


def test_a_file_in_the_folder_is_enough(tmp_path: Path) -> None:
    package = tmp_path / "optlayers"
    shutil.copytree(Path(optlayers.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = python_blocks(ROOT / "CONTRIBUTING.md")[0][1]
    (package / "sets" / "lens.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", CHECK]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert "lens, 3 entries" in result.stdout
    assert "Lens-0" in result.stdout


def test_every_set_is_in_a_file_of_the_folder() -> None:
    assert {kind.__module__.rpartition(".")[0] for kind in REGISTRY} == {"optlayers.sets"}
    assert len({kind.__module__ for kind in REGISTRY}) == len(REGISTRY)
