"""Every oracle of every registered set, on every example, against outside solutions."""

import pytest

from optlayers.oracles import ORACLES
from optlayers.sets import REGISTRY
from optlayers.testing.oracle_laws import ORACLE_LAWS, check_oracle, oracles_of

OFFERS = [(kind, name) for kind in REGISTRY for name in oracles_of(kind)]


@pytest.mark.parametrize(
    ("kind", "name"), [pytest.param(*offer, id=f"{offer[0].__name__}-{offer[1].replace(' ', '-')}") for offer in OFFERS]
)
def test_an_oracle_of_a_set(kind, name):
    check_oracle(kind, name)


def test_every_oracle_has_a_law_and_serves_registered_sets():
    assert ORACLES.keys() == ORACLE_LAWS.keys()
    for oracle in ORACLES.values():
        assert oracle.kinds
        assert {*oracle.kinds} <= {*REGISTRY}
