"""Every registered set, on every example, against every law."""

import pytest

from optlayers.sets import REGISTRY
from optlayers.testing import LAWS, cases

CASES = [case for kind in REGISTRY for case in cases(kind)]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_law(case, law):
    law(case)
