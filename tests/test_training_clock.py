"""One clock: after the k-th step of the optimizer everything uses the set of step k, also when training is resumed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cvxpy as cp
import pytest
import torch
from torch import Tensor, nn

from optlayers import FeasibleSet, Lagrangian, Monitor, Penalty, ScheduledSet, constrain
from optlayers.training import (
    Clock,
    ExponentiatedGradient,
    FrankWolfe,
    GumbelSoftmax,
    Inequality,
    InSet,
    geometric,
    linear,
    parametrize,
    project_after_step,
)
from optlayers.training.integrations.constraint_steps import ConstraintSteps

STEPS = 4


class Recorded(ScheduledSet):
    """``{0 <= x <= cap}``, with a cap that grows by one a step; keeps the steps that it was asked for."""

    def __init__(self) -> None:
        x, cap = cp.Variable(3, name="x"), cp.Parameter(name="cap")
        self.asked: list[int] = []
        super().__init__([x >= 0, x <= cap], cap=cap_at)

    def at(self, step: int) -> FeasibleSet:
        self.asked.append(step)
        return super().at(step)


def cap_at(step: int) -> float:
    return 1.0 + step


class Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 0.5, dtype=torch.float64))


class Run:
    """One strategy in a loop that pushes the weight up by 100 a step; `step` returns the step of the set it used."""

    def __init__(self, name: str, clock: Clock | None) -> None:
        self.name, self.module, self.set = name, Module(), Recorded()
        weight, self.clock = self.module.weight, clock
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD([weight], lr=100.0)
        self.handles: list[Any] = []
        options = {"clock": clock}
        if name == "project_after_step":
            self.handles = [project_after_step(self.optimizer, {weight: self.set}, **options)]
        elif name == "frank_wolfe":
            self.optimizer = FrankWolfe({weight: self.set}, lr=1.0, **options)
        elif name == "exponentiated_gradient":
            self.optimizer = ExponentiatedGradient({weight: self.set}, lr=10.0, **options)
        elif name == "trainer":
            self.steps = ConstraintSteps({"weight": self.set})
            self.steps.attach(self.module)
            self.steps.start(0)
        elif name == "parametrize":
            self.handles = [parametrize(self.module, "weight", self.set, how="projection", **options)]
        elif name == "penalty itself":
            self.handles = [Penalty(self.set, **options)]
        elif name == "lagrangian itself":
            self.handles = [Lagrangian(InSet(lambda x: x, self.set), lr=1.0, update="alternating", **options)]
        elif name == "monitor":
            self.handles = [Monitor(diagnoses=(), **options)]
            self.handles[0].watch("weight", weight, self.set)
        else:
            self.handles = [constrain(self.module, "weight", self.set, name, **options)]
        if clock is not None and name not in ("project_after_step", "frank_wolfe", "exponentiated_gradient", "trainer"):
            clock.attach(self.optimizer)

    def step(self) -> int:
        """Make a step, and return the step of the set that was used last, after it."""
        trained = next(p for p in self.module.parameters())
        trained.grad = torch.full_like(trained, -1.0)
        self.optimizer.step()
        for handle in self.handles:
            if isinstance(handle, Lagrangian):
                handle.step(trained)
            elif hasattr(handle, "step"):
                handle.step()
            if isinstance(handle, Penalty):
                handle(trained)
        if self.name == "trainer":
            self.steps.after_step(self.steps.clock.steps + 1)
        elif self.name == "penalty":
            self.handles[0](trained.sum())
        if self.name in ("parametrize", "reparametrization"):
            _ = self.module.weight
        return self.set.asked[-1]

    def state(self) -> list[dict]:
        """Return all that a checkpoint would keep."""
        parts = [self.module, self.optimizer, *self.handles, *([self.clock] if self.clock else [])]
        return copy.deepcopy([part.state_dict() for part in parts])

    def load(self, states: list[dict]) -> None:
        parts = [self.module, self.optimizer, *self.handles, *([self.clock] if self.clock else [])]
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)


EVERYTHING = [
    "project_after_step",
    "projection",
    "reparametrization",
    "parametrize",
    "penalty",
    "penalty itself",
    "augmented_lagrangian",
    "lagrangian itself",
    "frank_wolfe",
    "exponentiated_gradient",
    "trainer",
    "monitor",
]


@pytest.mark.parametrize("shared", [False, True], ids=["own clock", "shared clock"])
@pytest.mark.parametrize("name", EVERYTHING)
def test_after_k_steps_the_set_is_that_of_step_k(name: str, shared: bool) -> None:
    run = Run(name, Clock() if shared else None)
    assert [run.step() for _ in range(STEPS)] == [1, 2, 3, 4]
    if name == "trainer":  # the trainer counts, and says so
        return
    resumed = Run(name, Clock() if shared else None)
    resumed.load(run.state())
    assert resumed.step() == STEPS + 1
    if name in ("project_after_step", "projection", "frank_wolfe", "exponentiated_gradient"):
        torch.testing.assert_close(resumed.module.weight.detach(), torch.full((3,), 1.0 + 5, dtype=torch.float64))


def test_a_growing_cap_in_the_loop_of_the_readme_is_never_violated() -> None:
    for follow in (True, False):
        module, scheduled_set = Module(), Recorded()
        optimizer = torch.optim.SGD(module.parameters(), lr=100.0)
        projection = project_after_step(optimizer, {module.weight: scheduled_set})
        monitor = Monitor()
        monitor.watch("weight", module.weight, scheduled_set)
        if follow:
            monitor.follow(projection)
        for step in range(1, 5):
            optimizer.zero_grad()
            (-module.weight.sum()).backward()
            optimizer.step()
            record = monitor.step()
            assert record is not None
            assert record["weight/violation_max"] == 0
            assert float(module.weight.detach().max()) == 1.0 + step
        assert [step for step, _ in monitor.history.records] == [1, 2, 3, 4]


def test_everything_on_one_clock_counts_once() -> None:
    module, scheduled_set = Module(), Recorded()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    clock = Clock(optimizer)
    held = constrain(module, "weight", scheduled_set, "projection", clock=clock)
    penalty = Penalty(scheduled_set, weight=geometric(1.0, 2.0), clock=clock)
    lagrangian = Lagrangian(Inequality(lambda x: x, level=cap_at), lr=0.1, clock=clock)
    choice = GumbelSoftmax(linear(1.0, 0.5, 10), clock=clock)
    monitor = Monitor(clock=clock)
    for step in range(1, 6):
        optimizer.zero_grad()
        lagrangian(held(module.weight.sum() + penalty(module.weight)), module.weight).backward()
        optimizer.step()
        for one in (held, penalty, lagrangian, choice, monitor):
            one.step()
            assert one.steps == clock.steps == step
    assert penalty.weight == 32.0
    assert choice.temperature == 0.75


def test_a_monitor_on_a_clock_leaves_out_skipped_steps() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], 0.1, fused=True)
    clock, scaler = Clock(optimizer), torch.amp.GradScaler("cpu", init_scale=4.0)
    monitor = Monitor(clock=clock, every=2)
    records = []
    for factor in (1.0, float("inf"), float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((factor * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        records.append(monitor.step())
    assert clock.steps == 3
    assert records == [None, None, None, {}, None]


def test_one_projector_for_all() -> None:
    """The options of `project_after_step`, by `constrain` and by the steps of a trainer, give the same weights."""
    x = cp.Variable(4)
    simplex = [x >= 0, cp.sum(x) == 1]
    target = torch.tensor([0.9, -0.3, 0.5, 2.0], dtype=torch.float64)
    curvature = torch.tensor([1.0, 10.0, 100.0, 0.1], dtype=torch.float64)

    def train(how: str, **options: object) -> Tensor:
        module = nn.Module()
        module.weight = nn.Parameter(torch.full((4,), 0.4, dtype=torch.float64))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
        if how == "hook":
            project_after_step(optimizer, {module.weight: simplex}, **options)
        elif how == "constrain":
            held = constrain(module, "weight", simplex, "projection", **options)
        else:
            steps = ConstraintSteps({"weight": simplex}, **options)
            steps.attach(module)
            steps.start(0, [optimizer])
        for step in range(1, 8):
            optimizer.zero_grad()
            (curvature * (module.weight - target).square()).sum().backward()
            optimizer.step()
            if how == "constrain":
                held.step(optimizer)
            elif how == "trainer":
                steps.after_step(step, [optimizer])
        return module.weight.detach()

    seen = []
    for options in (
        {},
        {"metric": "optimizer"},
        {"clear_momentum": True},
        {"metric": "optimizer", "clear_momentum": True, "every": 2},
        {"project_now": False, "every": 3},
    ):
        expected = train("hook", **options)
        seen.append(expected)
        for how in ("constrain", "trainer"):
            torch.testing.assert_close(train(how, **options), expected, rtol=0, atol=0)
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def test_options_that_need_the_optimizer_say_so() -> None:
    module = Module()
    held = constrain(module, "weight", Recorded(), "projection", metric="optimizer")
    with pytest.raises(ValueError, match=r"needs the optimizer for these options.*step\(optimizer\)"):
        held.step()


def test_clocks() -> None:
    weight = nn.Parameter(torch.zeros(2))
    one, other = torch.optim.SGD([weight], 0.1), torch.optim.SGD([weight], 0.1)
    clock = Clock(one)
    clock.attach(one)
    one.step()
    other.step()
    assert clock.steps == 1
    with pytest.raises(ValueError, match="another SGD"):
        clock.attach(other)
    with pytest.raises(RuntimeError, match="advances this clock"):
        clock.step()
    for again in (copy.deepcopy(clock), pickle.loads(pickle.dumps(clock))):
        again.step()
        assert again.steps == 2
    clock.detach()
    one.step()
    clock.step()
    assert clock.steps == 2
    with pytest.raises(ValueError, match="expected a Clock, got int"):
        Monitor(clock=3)  # type: ignore[arg-type]
