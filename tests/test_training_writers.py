"""Where a monitor writes, and what it takes up again."""

import csv
import math
from pathlib import Path

import cvxpy as cp
import pytest
import torch

from optlayers.training.monitoring.diagnoses import ConstraintWarning
from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.monitoring.writers import CsvWriter, tensorboard

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def box(n: int = 4) -> list[cp.Constraint]:
    x = cp.Variable(n, name="x")
    return [x >= 0, x <= 1]


def simplex(n: int = 3) -> list[cp.Constraint]:
    x = cp.Variable(n, name="x")
    return [x >= 0, cp.sum(x) == 1]


def test_writers(tmp_path: Path) -> None:
    class Scalars:
        def __init__(self) -> None:
            self.seen: list[tuple[str, float, int | None]] = []

        def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
            self.seen.append((tag, scalar_value, global_step))

    scalars, seen = Scalars(), []
    monitor = Monitor(scalars, lambda *record: seen.append(record), tmp_path / "a" / "log.csv", every=2)
    for loss in range(1, 6):
        monitor.losses(loss, loss + 1.0)
        monitor.step()
    assert seen == [(k, {"loss/objective": k, "loss/total": k + 1, "loss/constraint_term": 1}) for k in (2, 4)]
    assert ("constraints/loss/total", 3.0, 2) in scalars.seen
    with (tmp_path / "a" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert [float(row["loss/total"]) for row in rows] == [3.0, 5.0]


def test_csv_files_are_continued_and_widened(tmp_path: Path) -> None:
    CsvWriter(tmp_path / "log.csv")(0, {"a": 1.0})
    write = CsvWriter(tmp_path / "log.csv")
    write(1, {"a": 2.0, "b": 3.0})
    write(2, {"b": 4.0})
    with (tmp_path / "log.csv").open() as file:
        assert list(csv.reader(file)) == [["step", "a", "b"], ["0", "1.0", ""], ["1", "2.0", "3.0"], ["2", "", "4.0"]]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        monitor = Monitor(writer)
        monitor.watch("w", torch.tensor([2.0, 0.5]), box(2))
        monitor.step()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Scalars("constraints/w/violation_max")[0].value == 1.0
    tensorboard(tmp_path / "other")(0, {"a": 1.0})


def test_state_goes_on() -> None:
    monitor, weight = Monitor(every=2), torch.tensor([math.nan, 0.0])
    monitor.watch("w", weight, box(2))
    assert monitor.step() is None
    with pytest.warns(ConstraintWarning, match="NaN"):
        monitor.step()
    other = Monitor(every=2)
    other.watch("w", weight, box(2))
    other.load_state_dict(monitor.state_dict())
    assert other.step() is None, "the third step"
    assert other.step() is not None, "told already: no warning"
    assert len(other.history.records) == 2
