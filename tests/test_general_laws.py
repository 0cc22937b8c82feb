"""Every set without closed form, against every law; see `test_laws.py` for those with one."""

import pytest

from optlayers.testing import LAWS, general_cases

CASES = list(general_cases())
COMPILED = ("polytope", "matrix_parameter", "ball_and_polyhedron")  # `torch.compile` takes seconds; the others are slow


def pairs():
    for case in CASES:
        for name, law in LAWS.items():
            slow = name == "compiles" and case.name not in COMPILED
            yield pytest.param(case, law, id=f"{case.name}-{name}", marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("case", "law"), list(pairs()))
def test_law(case, law):
    law(case)
