"""Every set without closed form, against every law; see `test_laws.py` for those with one."""

import pytest

from optlayers.testing import LAWS, general_cases

CASES = list(general_cases())


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_law(case, law):
    law(case)
