"""Arguments of the training tools are checked when they arrive; what is public can be pickled and copied."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import pytest
import torch
from torch import nn

from optlayers import Lagrangian, Monitor, Penalty, ScheduledSet, constrain
from optlayers.training import (
    ExponentiatedGradient,
    FrankWolfe,
    GumbelSoftmax,
    Inequality,
    InSet,
    geometric,
    linear,
    parametrize,
)
from optlayers.training.integrations.constraint_steps import ConstraintSteps


class Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 0.5, dtype=torch.float64))


def nonnegative() -> ScheduledSet:
    return ScheduledSet([cp.Variable(3, name="x") >= 0])


def first(history: object, name: str) -> None:
    return None


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_what_is_public_can_be_pickled_and_copied(how: str) -> None:
    def again(thing: object):
        return pickle.loads(pickle.dumps(thing)) if how == "pickle" else copy.deepcopy(thing)

    x, cap = cp.Variable(3, name="x"), cp.Parameter(name="cap")
    scheduled_set = ScheduledSet([x >= 0, x <= cap], cap=linear(1.0, 2.0, 10))
    point = torch.tensor([3.0, 0.5, -1.0], dtype=torch.float64)
    for strategy in ("projection", "reparametrization", "penalty", "augmented_lagrangian"):
        module = Module()
        held = constrain(module, "weight", scheduled_set, strategy)
        held.step()
        if strategy == "reparametrization" and how == "pickle":
            held.finish()  # torch refuses to pickle parametrized modules
        copied = again(held)
        assert copied.steps == 1
        torch.testing.assert_close(copied.tensor, held.tensor)
        for one in (held, copied):
            one.step()
        torch.testing.assert_close(copied.violation(), held.violation())
    penalty = Penalty(scheduled_set, weight=geometric(1.0, 2.0))
    penalty.step()
    torch.testing.assert_close(again(penalty)(point), penalty(point))
    lagrangian = Lagrangian(InSet(point, scheduled_set), lr=linear(0.1, 0.2, 3))
    assert again(lagrangian)(torch.zeros(())) == 0
    monitor = Monitor(diagnoses=(first,), every=2)
    monitor.watch("x", point, scheduled_set)
    assert again(monitor).names == ["x"]
    for schedule in (linear(0.0, 1.0, 3), geometric(1.0, 0.5, limit=0.2)):
        assert again(schedule)(2) == schedule(2)


BAD = [float("nan"), "x", None, -1.0]


@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda every=every: constrain(Module(), "weight", nonnegative(), "projection", every=every)
            for every in (1.5, True)
        ),
        *(lambda every=every: Monitor(every=every) for every in (1.5, "2")),
        lambda: Monitor(patience=0.5),
        lambda: Monitor(tolerance="small"),
        lambda: Monitor(diagnoses=["stuck"]),  # type: ignore[list-item]
        lambda: ConstraintSteps({}, every=0),
        lambda: ConstraintSteps({}, metric="adam"),
        lambda: Lagrangian(Inequality(abs), lr=0.1, every=1.5),  # type: ignore[arg-type]
        *(lambda lr=lr: Lagrangian(Inequality(abs), lr=lr) for lr in (0.0, "x")),
        *(lambda items=items: Inequality(abs, items=items) for items in (0, -3, 2.0)),
        *(lambda level=level: Inequality(abs, level=level) for level in ("x", float("nan"), [1, "a"])),
        lambda: Inequality(abs, average=1.0),
        lambda: Inequality(abs, limit=float("nan")),
        lambda: Inequality(abs, moved="keep"),
        *(lambda weight=weight: Penalty(nonnegative(), weight=weight) for weight in (0.0, *BAD)),
        lambda: geometric(1.0, 2.0, every=1.5),  # type: ignore[arg-type]
        lambda: linear(0.0, "x", 3),  # type: ignore[arg-type]
        lambda: linear(0.0, 1.0, 0),
        *(lambda lr=lr: FrankWolfe({Module().weight: nonnegative()}, lr=lr) for lr in ("x", -0.1, float("nan"))),
        *(lambda lr=lr: ExponentiatedGradient({Module().weight: nonnegative()}, lr=lr) for lr in BAD),
        lambda: parametrize(Module(), "weight", nonnegative(), how="smooth", margin="x"),
        lambda: GumbelSoftmax("cold"),
        lambda: GumbelSoftmax(1.0, dim=0.5),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked_when_they_arrive(make) -> None:
    with pytest.raises(ValueError, match=r"expected .*(got|arrived)"):
        make()


@pytest.mark.parametrize("index", [[0, 4], [-1, 0]])
def test_an_index_out_of_range_is_named(index: list[int]) -> None:
    lagrangian = Lagrangian(Inequality(lambda x: x, items=4), lr=0.1)
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"items=4: expected an index from 0 to 3, got -?\d to \d"):
        lagrangian(x.sum(), x, index=torch.tensor(index))
