"""The public names are a promise: adding or removing one is done here too, on purpose."""

import inspect
import subprocess
import sys

import pytest

import optlayers

PUBLIC = [
    "AugmentedLagrangian",
    "BoundSet",
    "FeasibleSet",
    "InfeasibleError",
    "Lagrangian",
    "Monitor",
    "NotConvexError",
    "NotParametrizedError",
    "NotSolvedError",
    "Penalty",
    "ProjectionLayer",
    "ScheduledSet",
    "Solution",
    "Status",
    "WarmStart",
    "WarmStarts",
    "compare",
    "constrain",
    "parametrize",
    "project_after_step",
]
OPTIONAL = {"cooper", "cvxpylayers", "diffcp", "lightning", "matplotlib", "sklearn", "tensorboard"}
OPTIONAL |= {"transformers", "triton"}

# cvxpy imports the solvers it finds, diffcp among them, so only what optlayers adds to torch and cvxpy counts.
NEWLY_IMPORTED = """
import sys, torch, cvxpy
before = set(sys.modules)
import optlayers
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_public_names() -> None:
    assert sorted(optlayers.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name: str) -> None:
    public = getattr(optlayers, name)
    assert public.__doc__
    assert not public.__doc__.startswith(f"{name}("), "the signature that `dataclass` writes is no docstring"


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(optlayers, name, None))])
def test_public_members_have_docstrings(name: str) -> None:
    public = getattr(optlayers, name)
    members = [
        member
        for member in vars(public)
        if not member.startswith("_")
        and (callable(getattr(public, member)) or isinstance(vars(public)[member], property))
    ]
    assert [member for member in members if not inspect.getdoc(getattr(public, member))] == []


def test_import_leaves_optional_dependencies_alone() -> None:
    command = [sys.executable, "-c", NEWLY_IMPORTED]
    imported = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert "optlayers" in imported
    assert OPTIONAL.isdisjoint(imported)
