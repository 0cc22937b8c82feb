"""The monitor records what it says, against closed formulas, and writes it where it should."""

import cvxpy as cp
import pytest
import torch

from optlayers import FeasibleSet, ProjectionLayer
from optlayers.training.monitoring.activity import activity
from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.monitoring.writers import as_writer
from optlayers.training.projected.project_after_step import project_after_step
from optlayers.training.schedules.scheduled_set import ScheduledSet

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def box(n: int = 4) -> list[cp.Constraint]:
    x = cp.Variable(n, name="x")
    return [x >= 0, x <= 1]


def simplex(n: int = 3) -> list[cp.Constraint]:
    x = cp.Variable(n, name="x")
    return [x >= 0, cp.sum(x) == 1]


@DTYPES
def test_a_weight_is_measured(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 1.0, 0.5, 0.2], [-3.0, 0.5, 5.0, 0.5]], dtype=dtype, requires_grad=True)
    weight.grad = torch.tensor([[1.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=dtype)
    monitor = Monitor()
    monitor.watch("w", weight, box())
    record = monitor.step()
    assert record is not None
    expected = {
        "violation_max": 4.0,
        "violation_mean": 2.0,
        "violated": 0.5,
        "distance": 2.5,
        "distance_max": 5.0,
        "active": 4 / 16,
        "pinned": 0.0,
        "gradient": 6**0.5,
        "gradient_discarded": 1.0,  # of the entry at 0 that would fall; the one at 1 may
        "gradient_discarded_share": 6**-0.5,
        "stuck": 0.0,
    }
    assert record == pytest.approx({f"w/{key}": value for key, value in expected.items()}, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize(
    ("make", "inside", "on"),
    [
        (lambda x: [cp.norm(x) <= 1], [0.3, 0.1, 0.0], [0.6, 0.8, 0.0]),
        (lambda x: [cp.norm1(x) <= 1], [0.3, 0.1, 0.0], [0.6, -0.4, 0.0]),  # auxiliary entries: no rows of its own
        (lambda x: [cp.sum(cp.exp(x)) <= 3], [-0.5, -0.5, -0.1], [0.0, 0.0, 0.0]),
        (lambda x: [cp.geo_mean(x) >= 1], [1.5, 1.0, 1.0], [1.0, 1.0, 1.0]),
        (lambda x: [cp.bmat([[x[0], x[1]], [x[1], x[2]]]) >> 0], [1.0, 0.5, 1.0], [1.0, 1.0, 1.0]),
        (lambda x: [x >= 0], [1.0, 0.5, 1.0], [0.0, 0.0, 0.0]),
        (lambda x: [cp.sum(x) <= 1], [0.1, 0.1, 0.1], [0.0, 2.0, -1.0]),
    ],
)
def test_active_means_on_the_boundary(make, inside: list[float], on: list[float], batch: tuple[int, ...]) -> None:
    bound = FeasibleSet(make(cp.Variable(3)))
    for point, active in ((inside, False), (on, True)):
        found = activity(bound, [torch.tensor(point, dtype=torch.float64).expand(*batch, 3)]).active
        assert found.shape[:-1] == batch
        assert bool(found.any(-1).all()) == active
        assert bool(found.any()) == active


def test_pinned_points_have_no_dimension_left() -> None:
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    monitor = Monitor()
    monitor.watch("w", weight, simplex())
    record = monitor.step()
    assert record is not None
    assert record["w/pinned"] == 0.5
    assert record["w/active"] == pytest.approx(5 / 12)


@pytest.mark.parametrize("seed", range(3))
def test_the_discarded_gradient_is_that_of_the_tangent_cone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = cp.Variable(5)
    normals = torch.randn(4, 5, generator=generator, dtype=torch.float64).numpy()
    bound = FeasibleSet([normals @ x <= 1, x >= -0.1])
    y = bound.project(5 * torch.randn(5, generator=generator, dtype=torch.float64)).requires_grad_()
    y.grad = torch.randn(5, generator=generator, dtype=torch.float64)
    d = cp.Variable(5)
    at = y.detach().numpy()
    active = [normals[k] @ d <= 0 for k in range(4) if normals[k] @ at >= 1 - 1e-7]
    active += [d[k] >= 0 for k in range(5) if at[k] <= -0.1 + 1e-7]
    assert active
    cp.Problem(cp.Minimize(cp.sum_squares(d + y.grad.numpy())), active).solve(solver="CLARABEL")
    monitor = Monitor()
    monitor.watch("w", y, bound)
    record = monitor.step()
    assert record is not None
    assert d.value is not None
    assert record["w/gradient_discarded"] == pytest.approx(
        float(((y.grad.numpy() + d.value) ** 2).sum() ** 0.5), rel=1e-5
    )


@DTYPES
def test_a_layer_is_measured(dtype: torch.dtype) -> None:
    layer, monitor = ProjectionLayer(box()), Monitor()
    remove = monitor.watch_layer(layer, "layer")
    v = torch.tensor([[-1.0, 0.5, 0.5, 3.0], [0.5, 0.5, 0.5, 0.5]], dtype=dtype, requires_grad=True)
    slope = torch.tensor([[3.0, 0.0, 1.0, 4.0], [0.0, 2.0, 0.0, 0.0]], dtype=dtype)
    (layer(v) * slope).sum().backward()
    record = monitor.step()
    assert record is not None
    assert record["layer/distance"] == pytest.approx(5**0.5 / 2)
    assert record["layer/distance_max"] == pytest.approx(5**0.5)
    assert record["layer/input_violation_max"] == pytest.approx(2.0)
    assert record["layer/input_violated"] == 0.5
    assert record["layer/active"] == pytest.approx(2 / 16)
    assert record["layer/gradient"] == pytest.approx(30**0.5)
    assert record["layer/gradient_discarded"] == pytest.approx(5.0)
    assert record["layer/gradient_usable_share"] == pytest.approx((21 / 30) ** 0.5, rel=1e-3)  # 1 may fall, 0 may not
    with torch.no_grad():
        layer(v)  # evaluation is not training
    assert monitor.step() == {}
    remove()
    layer(v).sum().backward()
    assert monitor.step() == {}


def test_a_layer_that_is_called_twice() -> None:
    layer, monitor = ProjectionLayer(box(1)), Monitor()
    monitor.watch_layer(layer)
    v = torch.tensor([2.0], requires_grad=True)
    (3 * layer(v) + layer(v / 4)).sum().backward()
    record = monitor.step()
    assert record is not None
    assert record["projection/gradient_discarded"] == pytest.approx(3.0)
    assert record["projection/distance_max"] == pytest.approx(1.0)
    assert record["projection/gradient"] == pytest.approx(10**0.5)


def test_a_layer_with_parameters() -> None:
    x, top = cp.Variable(2), cp.Parameter(name="top")
    layer, monitor = ProjectionLayer([x >= 0, x <= top]), Monitor()
    monitor.watch_layer(layer)
    layer(torch.full((3, 2), 4.0, requires_grad=True), top=torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    record = monitor.step()
    assert record is not None
    assert record["projection/input_violated"] == pytest.approx(2 / 3)
    assert record["projection/distance_max"] == pytest.approx(3 * 2**0.5)


def test_an_activation_is_observed_with_its_gradient() -> None:
    monitor = Monitor(every=2)
    monitor.watch("output", None, box(2))
    v = torch.tensor([[0.0, 0.5], [0.0, 0.5]], requires_grad=True)
    for step in range(3):
        output = v * 1.0
        monitor.observe("output", output)
        output.sum().backward()
        record = monitor.step()
        assert (record is None) == (step != 1)
        if record is not None:
            assert record["output/gradient_discarded"] == pytest.approx(2**0.5, rel=1e-3)
    assert monitor.step() == {}, "an activation that was not shown"


def test_the_set_may_move() -> None:
    x, top = cp.Variable(2), cp.Parameter(name="top")
    monitor = Monitor()
    monitor.watch("w", torch.ones(2), ScheduledSet([x <= top], top=lambda step: 1.0 - step / 10))
    monitor.step()
    record = monitor.step()
    assert record is not None
    assert record["w/violation_max"] == pytest.approx(0.2)


def test_a_function_is_asked_at_each_record_and_projections_made_elsewhere_are_told() -> None:
    weight, calls = torch.zeros(3, 2), []
    monitor = Monitor(every=3)
    monitor.watch("w", lambda: calls.append(1) or weight, box(2))
    for _ in range(7):
        monitor.projected("w", weight - 2, weight)
        monitor.step()
    assert len(calls) == 2
    assert monitor.history.series("w", "distance") == pytest.approx([8**0.5] * 2)


def test_a_projection_is_followed() -> None:
    weight, other = (torch.nn.Parameter(torch.zeros(3, 2)) for _ in range(2))
    optimizer = torch.optim.SGD([weight, other], lr=1.0)
    projection = project_after_step(optimizer, {weight: box(2), other: box(2)})
    monitor = Monitor()
    monitor.watch("w", weight, box(2))
    end = monitor.follow(projection)
    weight.grad, other.grad = torch.full((3, 2), 3.0), torch.ones(3, 2)
    optimizer.step()
    monitor.step()
    end()
    optimizer.step()
    monitor.step()
    moved = monitor.history.series("w", "distance")
    assert moved[0] > 0
    assert moved[1] == 0


def test_losses_and_multipliers() -> None:
    monitor, nested = Monitor(), {"a": torch.tensor([3.0, -4.0]), "b": [torch.zeros(2), 1.0]}
    module = torch.nn.Module()
    module.register_buffer("multiplier", torch.tensor([2.0, 1.0]))
    monitor.multipliers("nested", lambda: nested, violation=lambda: torch.tensor([0.5, -1.0]))
    monitor.multipliers("module", module)
    monitor.losses(torch.tensor(1.0, requires_grad=True), torch.tensor(3.0))
    record = monitor.step()
    assert record == pytest.approx(
        {
            "nested/multiplier_max": 4.0,
            "nested/multiplier_norm": 26**0.5,
            "nested/multiplier_component": -6.0,
            "nested/violation_max": 0.5,
            "nested/violation_mean": 0.25,
            "nested/violated": 0.5,
            "module/multiplier_max": 2.0,
            "module/multiplier_norm": 5**0.5,
            "module/multiplier_component": -1.0,
            "loss/objective": 1.0,
            "loss/total": 3.0,
            "loss/constraint_term": 2.0,
        }
    )


def test_errors() -> None:
    monitor = Monitor()
    with pytest.raises(ValueError, match=r"the shape \(3,\), the variable \(4,\)"):
        monitor.watch("w", torch.zeros(3), box())
    with pytest.raises(TypeError, match="expected a tensor, a function"):
        monitor.watch("w", 3, box())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="watch"):
        monitor.observe("w", torch.zeros(4))
    monitor.watch("w", torch.zeros(4), box())
    with pytest.raises(ValueError, match="watched already"):
        monitor.multipliers("w", lambda: 1.0)
    with pytest.raises(TypeError, match="ProjectionLayer"):
        monitor.watch_layer(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\.csv"):
        as_writer("runs")
    with pytest.raises(TypeError, match="SummaryWriter"):
        as_writer(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every >= 1"):
        Monitor(every=0)
