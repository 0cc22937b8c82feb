"""One rule for all oracles: which formula is asked, what tied entries and whole sets do, and what a refusal says."""

import cvxpy as cp
import pytest
import torch

from optlayers import FeasibleSet
from optlayers.oracles import ORACLES, Oracle
from optlayers.oracles.entropy_projection import nearest_by_entropy
from optlayers.oracles.linear_minimisation import minimise_linear
from optlayers.oracles.oracle import ask
from optlayers.sets.box import Box
from optlayers.sets.l2_ball import L2Ball

x = cp.Variable(3)


@pytest.fixture
def oracle():
    """An oracle of the test's own: the point that is asked, moved."""
    yield Oracle("test of", "Nothing helps.")
    del ORACLES["test of"]


class SmallBox(Box):
    """A box by another name."""


def test_the_class_is_asked_before_its_bases_and_the_last_formula_first(oracle) -> None:
    box, v = SmallBox(None, None), torch.zeros(3)
    assert oracle(box, v) is None
    oracle.register(Box)(lambda box, v: v + 1)
    assert torch.equal(oracle(box, v), v + 1)
    oracle.register(SmallBox)(lambda box, v: v + 2)
    assert torch.equal(oracle(box, v), v + 2)
    oracle.register(SmallBox, L2Ball)(lambda box, v: v + 3 if v.any() else None)
    assert torch.equal(oracle(box, v), v + 2)
    assert torch.equal(oracle(box, v + 1), v + 4)
    assert torch.equal(oracle(Box(None, None), v), v + 1)
    assert oracle.kinds == (Box, SmallBox, L2Ball)
    oracle.unregister(SmallBox)
    assert torch.equal(oracle(box, v), v + 1)
    with pytest.raises(ValueError, match="expected a class of closed-form sets"):
        oracle.register(int)


def test_a_refusal_names_the_sets_that_lack_a_formula_and_those_that_have_one(oracle) -> None:
    oracle.register(Box, L2Ball)(lambda box, v: v)
    both = FeasibleSet([x[:2] >= 0, cp.sum(x[:2]) == 1, x[2] >= 0])
    with pytest.raises(ValueError, match=r"^no test of simplex; there is one for L2 ball, box. Nothing helps.$"):
        ask(oracle, both, torch.ones(3))
    general = FeasibleSet([x[0] >= x[1] + 2 * x[2], cp.norm(x) <= 1, x[0] <= 3])
    with pytest.raises(ValueError, match="no test of a set of"):
        ask(oracle, general, torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        ask(oracle, both, torch.tensor([1.0, torch.nan, 0.0]))
    assert torch.equal(ask(oracle, both, torch.ones(2, 3), lambda v, bound: 2 * v), 2 * torch.ones(2, 3))


def test_tied_entries_are_one_for_oracles_that_isometries_commute_with() -> None:
    tied = FeasibleSet([x[0] == x[1], cp.norm(x) <= 1])
    assert tied.method == "closed_form"
    g = torch.tensor([1.0, 3.0, -1.0])
    expected = -torch.tensor([2.0, 2.0, -1.0]) / 3
    torch.testing.assert_close(minimise_linear(tied, g), expected)
    with pytest.raises(ValueError, match="entries tied"):
        nearest_by_entropy(FeasibleSet([x[0] == x[1], x >= 0, cp.sum(x) == 1]), torch.zeros(3))
    with pytest.raises(ValueError, match="expected a class"):
        ORACLES["linear minimisation over"].register(float)


def test_parameters_may_have_a_larger_batch_than_what_is_asked() -> None:
    cap = cp.Parameter(name="cap")
    constraints = [x >= 0, cp.sum(x) <= cap]
    caps, g = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0, 0.0])
    vertices = minimise_linear(FeasibleSet(constraints).bind(cap=caps), g)
    torch.testing.assert_close(vertices, torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
