"""The conditions of optimality that multipliers are judged by."""

import cvxpy as cp
import pytest
import torch
from torch import nn

from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.lagrangian import Lagrangian
from optlayers.training.priced.relations import Inequality


def tensor(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def test_kkt_tells_which_condition_fails():
    x = nn.Parameter(tensor(1.0, 1.0))
    lagrangian = Lagrangian(Inequality(lambda x: x.sum(), level=2.0), 1.0)
    lagrangian(x.sum(), x)

    def kkt(y):
        lagrangian.multipliers[0].value.fill_(y)
        return lagrangian.kkt(-3 * x.sum(), x, x)

    assert kkt(3.0).largest == 0
    assert kkt(1.0).stationarity == 2
    assert kkt(-1.0).dual_feasibility == 1
    with torch.no_grad():
        x.sub_(0.5)
    assert kkt(3.0).complementarity == 3
    with torch.no_grad():
        x.add_(1.0)
    assert kkt(3.0).primal_feasibility == 1
    assert x.grad is None


def test_kkt_of_a_set():
    x = nn.Parameter(tensor(1.0, 0.0))
    lagrangian = Lagrangian(InSet(x, [cp.norm(cp.Variable(2)) <= 1]), 1.0)
    lagrangian(x.sum())
    for y, size in ((tensor(2.0, 0.0), 0.0), (tensor(0.0, 2.0), 1.0), (tensor(-0.5, 0.0), 0.5)):
        lagrangian.multipliers[0].value.copy_(y)
        found = lagrangian.kkt((x * -y).sum(), x)
        assert found.stationarity == pytest.approx(0, abs=1e-12)
        assert (found.dual_feasibility < 1e-9) == (size == 0)
        assert (found.complementarity < 1e-9) == (size == 0)
