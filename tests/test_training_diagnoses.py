"""Each diagnosis speaks up in a run that goes wrong its way, and stays silent in runs that go well."""

import warnings
from collections.abc import Callable

import cvxpy as cp
import pytest
import torch
from torch import Tensor

from optlayers import FeasibleSet, ProjectionLayer, constrain
from optlayers.training.monitoring import diagnoses
from optlayers.training.monitoring.diagnoses import ConstraintWarning
from optlayers.training.monitoring.history import History
from optlayers.training.monitoring.monitor import Monitor


def causes(run: Callable[[], object]) -> dict[str, str]:
    """Return the messages of a run, by the words that tell them apart."""
    words = {
        "swing back and forth": "swing",
        "keep growing": "multipliers",
        "over-constrained": "active",
        "discard": "discarded",
        "stayed active": "stuck",
        "does not fall": "violation",
        "NaN": "finite",
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    messages = [str(w.message) for w in caught]
    assert all(issubclass(w.category, ConstraintWarning) for w in caught)
    assert len(set(messages)) == len(messages), "once per cause"
    return {next(cause for word, cause in words.items() if word in message): message for message in messages}


def dual_ascent(violations: Callable[[Tensor], Tensor], rate: float, steps: int = 300, seed: int = 0) -> Tensor:
    """Run simultaneous gradient descent and ascent on ``||x - c||^2 + multipliers @ violations(x)``."""
    center = torch.randn(3, generator=torch.Generator().manual_seed(seed))
    x = center.clone().requires_grad_()
    multipliers = torch.zeros(len(violations(x)))
    optimizer = torch.optim.SGD([x], lr=0.1)
    monitor = Monitor()
    monitor.multipliers("dual", lambda: multipliers, violation=lambda: violations(x))
    for _ in range(steps):
        optimizer.zero_grad()
        objective, value = (x - center).square().sum(), violations(x)
        total = objective + multipliers @ value
        total.backward()
        optimizer.step()
        with torch.no_grad():
            multipliers = (multipliers + rate * value).clamp_min(0.0)
        monitor.losses(objective, total)
        monitor.step()
    return multipliers


@pytest.mark.parametrize("seed", range(3))
def test_contradictory_constraints(seed: int) -> None:
    found = causes(lambda: dual_ascent(lambda x: torch.stack([x.sum() - 1, 2 - x.sum()]), 0.05, 600, seed))
    assert set(found) == {"multipliers", "violation"}
    assert "'dual'" in found["multipliers"]
    assert "contradict" in found["multipliers"]


@pytest.mark.parametrize("seed", range(3))
def test_contradictory_constraints_at_a_rate_that_swings(seed: int) -> None:
    """The violation, 0.5 at best, grows to 1e7: whether some point satisfies all comes after that."""
    found = causes(lambda: dual_ascent(lambda x: torch.stack([x.sum() - 1, 2 - x.sum()]), 0.5, 600, seed))
    assert set(found) == {"swing"}
    assert int(found["swing"].split(":")[0].removeprefix("step ")) <= 60, "in time"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_constraints_that_can_be_met(rate: float, seed: int) -> None:
    assert causes(lambda: dual_ascent(lambda x: torch.stack([x.sum() - 1, 2 - x[0]]), rate, 600, seed)) == {}


def projected(constraints: list[cp.Constraint], target: Tensor, steps: int = 200) -> None:
    """Run projected gradient descent on ``||x - target||^2``, with a little noise."""
    bound, monitor = FeasibleSet(constraints), Monitor()
    x = bound.project(torch.full_like(target, 0.25)).requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.05, momentum=0.5)
    monitor.watch("w", x, bound)
    for _ in range(steps):
        optimizer.zero_grad()
        (x - target - 0.05 * torch.randn_like(x)).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            before = x.clone()
            x.copy_(bound.project(x))
        monitor.projected("w", before, x)
        monitor.step()


def test_projected_descent_to_the_inside_and_to_a_face_is_healthy() -> None:
    w = cp.Variable(6)
    simplex = [w >= 0, cp.sum(w) == 1]
    for target in (torch.full((6,), 1 / 6), torch.tensor([0.5, 0.4, -1.0, 0.0, -2.0, 0.3])):
        assert causes(lambda target=target: projected(simplex, target)) == {}
    assert causes(lambda: projected([cp.norm(w) <= 1], 3 * torch.ones(6))) == {}
    assert causes(lambda: projected([w >= 0, w <= 1], torch.tensor([2.0, -1, 3, -2, 0.5, 0.5]))) == {}


def test_everything_active() -> None:
    w = cp.Variable(3)
    narrow = [w >= 0, cp.sum(w) <= 1, w[0] + 2 * w[1] + 3 * w[2] >= 3]  # one point is left
    assert set(causes(lambda: projected(narrow, torch.zeros(3)))) >= {"active"}


def layer_run(start: float, wanted: Tensor) -> tuple[Tensor, dict[str, str]]:
    """Train the input of a projection to the simplex, from `start` on its first entry."""
    w = cp.Variable(3)
    layer, monitor = ProjectionLayer([w >= 0, cp.sum(w) == 1]), Monitor()
    v = torch.tensor([start, 0.0, 0.0]).requires_grad_()
    monitor.watch_layer(layer, "simplex")
    optimizer = torch.optim.SGD([v], lr=0.1)

    def run() -> None:
        for _ in range(100):
            optimizer.zero_grad()
            (layer(v) - wanted).square().sum().backward()
            optimizer.step()
            monitor.step()

    found = causes(run)
    return layer(v).detach(), found


def test_a_projection_that_discards_the_gradient() -> None:
    wanted = torch.tensor([0.2, 0.7, 0.1])
    y, found = layer_run(5.0, wanted)
    assert set(found) == {"active", "discarded"}
    assert "'simplex'" in found["discarded"]
    assert (y - wanted).norm() > 0.5
    y, found = layer_run(0.5, wanted)
    assert found == {}
    assert (y - wanted).norm() < 0.01


def test_a_gradient_that_is_rightly_stopped() -> None:
    _, found = layer_run(0.5, torch.tensor([3.0, -1.0, 0.5]))  # the vertex is the answer
    assert "discarded" not in found


def saturated(start: float) -> None:
    """Train ``w = sigmoid(theta)`` toward 0.5, from 1 but for rounding where `start` is large."""
    w = cp.Variable(4)
    theta = torch.full((4,), start, requires_grad=True)
    monitor, optimizer = Monitor(), torch.optim.SGD([theta], lr=1.0)
    monitor.watch("w", None, [w >= 0, w <= 1])
    for _ in range(100):
        optimizer.zero_grad()
        weight = theta.sigmoid()
        monitor.observe("w", weight)
        (weight - 0.5).square().sum().backward()
        optimizer.step()
        monitor.step()


def test_stuck_at_a_bound() -> None:
    found = causes(lambda: saturated(20.0))
    assert "stuck" in found
    assert "50.0%" in found["stuck"], "the upper bounds"
    assert causes(lambda: saturated(2.0)) == {}


def penalised(weight: float) -> None:
    """Descend on ``sum(x) + weight * ||min(x, 0)||^2 / 2``: the violation settles at 1 / weight."""
    w = cp.Variable(3)
    x = torch.zeros(3, requires_grad=True)
    monitor, optimizer = Monitor(tolerance=1e-3), torch.optim.SGD([x], lr=1e-3)
    monitor.watch("w", x, [w >= 0])
    for _ in range(400):
        optimizer.zero_grad()
        (x.sum() + weight * x.clamp_max(0.0).square().sum() / 2).backward()
        optimizer.step()
        monitor.step()


def test_a_violation_that_does_not_fall() -> None:
    found = causes(lambda: penalised(20.0))
    assert set(found) == {"violation"}
    assert "100% of its samples" in found["violation"]


def test_a_violation_that_falls() -> None:
    w = cp.Variable(3)
    x = torch.full((3,), -1.0, requires_grad=True)
    monitor, optimizer = Monitor(), torch.optim.SGD([x], lr=0.01)
    monitor.watch("w", x, [w >= 0])

    def run() -> None:
        for _ in range(400):
            optimizer.zero_grad()
            (x.clamp_max(0.0).square().sum() + (x - 0.1).square().sum()).backward()
            optimizer.step()
            monitor.step()

    assert causes(run) == {}


def test_a_weight_that_diverges() -> None:
    w = cp.Variable(2)
    x = torch.ones(2, requires_grad=True)
    monitor, optimizer = Monitor(every=10), torch.optim.SGD([x], lr=10.0)
    monitor.watch("w", x, [w <= 1e30])

    def run() -> None:
        for _ in range(60):
            optimizer.zero_grad()
            (x**2).sum().backward()
            optimizer.step()
            monitor.step()

    assert set(causes(run)) == {"finite"}


def test_diagnoses_are_functions_of_the_history() -> None:
    growing = [(k, {"a/multiplier_max": float(k), "a/violation_max": 1.0, "a/violated": 1.0}) for k in range(100)]
    assert diagnoses.multipliers_blow_up(History(growing[:99]), "a") is None
    assert diagnoses.multipliers_blow_up(History(growing), "a")
    assert diagnoses.multipliers_blow_up(History(growing), "b") is None
    levelling = [(k, {"a/multiplier_max": 1 - 0.95**k}) for k in range(200)]
    assert diagnoses.multipliers_blow_up(History(levelling), "a") is None
    alone = [(k, {"a/multiplier_max": 1.1**k}) for k in range(100)]
    assert diagnoses.multipliers_blow_up(History(alone), "a")
    lost = [(k, {"p/gradient_discarded_share": 1.0, "p/gradient_usable_share": 0.5}) for k in range(20)]
    assert diagnoses.gradient_discarded(History(lost), "p")
    lost[-1] = (19, {"p/gradient_discarded_share": 1.0, "p/gradient_usable_share": 0.0})
    assert diagnoses.gradient_discarded(History(lost), "p") is None
    assert diagnoses.everything_active(History([(k, {"w/pinned": 1.0}) for k in range(19)]), "w") is None


def test_the_user_chooses_the_diagnoses() -> None:
    w = cp.Variable(2)
    monitor = Monitor(diagnoses=[lambda history, name: f"{name} at {history.step}"])
    monitor.watch("w", torch.zeros(2), [w >= 0])
    with pytest.warns(ConstraintWarning, match=r"step 1: w at 1\."):
        monitor.step()
    monitor.step()


@pytest.mark.parametrize(("relaxation", "expected"), [(1.0, {"swing"}), (None, set())])
def test_multipliers_that_swing(relaxation: float | None, expected: set[str]) -> None:
    """The classical step at each step of Adam diverges slowly: multipliers are named, not the constraints."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(128, 20, generator=generator)
    truth = torch.rand(5, 20, generator=generator)
    wanted = features @ (truth / truth.sum(-1, keepdim=True) + 0.2 * torch.randn(5, 20, generator=generator)).T
    w = cp.Variable(20)
    net = torch.nn.Linear(20, 5, bias=False)
    torch.nn.init.uniform_(net.weight, -0.2, 0.2, generator=generator)
    held = constrain(net, "weight", [w >= 0, cp.sum(w) == 1], "augmented_lagrangian", relaxation=relaxation)
    optimizer, monitor = torch.optim.Adam(net.parameters(), lr=0.01), Monitor()
    assert isinstance(held.lagrangian, torch.nn.Module)
    monitor.multipliers("dual", held.lagrangian)
    monitor.watch("weight", net.weight, [w >= 0, cp.sum(w) == 1])

    def run() -> None:
        for _ in range(300):
            optimizer.zero_grad()
            held((net(features) - wanted).square().mean()).backward()
            optimizer.step()
            held.step(optimizer)
            monitor.step()

    found = causes(run)
    assert set(found) == expected
    assert "relaxation" in "".join(found.values()) or not expected
