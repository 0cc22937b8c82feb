"""Every registered set, on every example, against every law."""

import pytest

from optlayers.sets import REGISTRY
from optlayers.testing import LAWS, cases

PAIRS = [
    pytest.param(case, law, id=f"{case.name}-{name}")
    for kind in REGISTRY
    for case in cases(kind)
    for name, law in LAWS.items()
]


@pytest.mark.parametrize(("case", "law"), PAIRS)
def test_law(case, law):
    law(case)
