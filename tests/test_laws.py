"""Every registered set, on every example, against every law."""

import pytest

from optlayers.sets import REGISTRY
from optlayers.testing import cases, laws_for

ONE_EXAMPLE = {"compiles", "passes_gradgradcheck"}  # of each set, by default: they take seconds


def pairs():
    for kind in REGISTRY:
        done = set()
        for case in cases(kind):
            for name, law in laws_for(case).items():
                marks = [pytest.mark.slow] if name in ONE_EXAMPLE & done else []
                yield pytest.param(case, law, id=f"{case.name}-{name}", marks=marks)
                done.add(name)


@pytest.mark.parametrize(("case", "law"), list(pairs()))
def test_law(case, law):
    law(case)
