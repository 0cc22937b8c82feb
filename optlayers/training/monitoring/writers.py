"""Where a monitor's records go: TensorBoard, a function, a CSV file."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from optlayers.errors import extra

Writer = Callable[[int, Mapping[str, float]], Any]


@runtime_checkable
class ScalarWriter(Protocol):
    """Anything that takes scalars as TensorBoard's `SummaryWriter` does."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any: ...


class CsvWriter:
    """A CSV file with a column for the step and one for each measure; its folder is made if need be.

    A file that exists is continued. Columns that appear later are added, which rewrites the file once.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.columns = list(self._rows().fieldnames or [])

    def __call__(self, step: int, measures: Mapping[str, float]) -> None:
        """Append a line."""
        row = {"step": step, **measures}
        new = [key for key in row if key not in self.columns]
        is_widened = bool(new) or not self.path.exists()
        rows = list(self._rows()) if is_widened else []
        self.columns += new
        with self.path.open("w" if is_widened else "a", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            if is_widened:
                writer.writeheader()
            writer.writerows([*rows, row])

    def _rows(self) -> csv.DictReader:
        """Return the lines of the file."""
        text = self.path.read_text() if self.path.exists() else ""
        return csv.DictReader(text.splitlines())


def tensorboard(folder: str | Path, prefix: str = "constraints") -> Writer:
    """Return a writer to a TensorBoard folder; raise ImportError if TensorBoard is not installed."""
    with extra("monitor"):
        from torch.utils.tensorboard import SummaryWriter
    return _ToScalars(SummaryWriter(str(folder)), prefix)


def as_writer(target: Writer | ScalarWriter | str | Path) -> Writer:
    """Return the writer to a `SummaryWriter`, to a function of the step and the measures, or to a CSV file.

    Raises TypeError or ValueError if the target is none of these.
    """
    if isinstance(target, ScalarWriter):
        return _ToScalars(target, "constraints")
    if isinstance(target, (str, Path)):
        if Path(target).suffix.lower() != ".csv":
            raise ValueError(
                f"expected a path that ends in .csv, got {str(target)!r}; for TensorBoard, tensorboard(folder)"
            )
        return CsvWriter(target)
    if not callable(target):
        raise TypeError(
            "expected a SummaryWriter, a function of (step, measures), or the path of a CSV file, "
            f"got {type(target).__name__}"
        )
    return target


@dataclass(frozen=True)
class _ToScalars:
    """Writes each measure as a scalar."""

    writer: ScalarWriter
    prefix: str

    def __call__(self, step: int, measures: Mapping[str, float]) -> None:
        for key, value in measures.items():
            self.writer.add_scalar(f"{self.prefix}/{key}", value, step)
