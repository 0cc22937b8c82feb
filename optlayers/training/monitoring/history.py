"""What a monitor has recorded, as series of numbers."""

from collections import deque
from collections.abc import Iterable, Mapping


class History:
    """The last `keep` records: steps, and their measures by key ``"name/measure"``."""

    def __init__(self, records: Iterable[tuple[int, Mapping[str, float]]] = (), keep: int = 1000) -> None:
        kept = ((step, dict(measures)) for step, measures in records)
        self.records: deque[tuple[int, dict[str, float]]] = deque(kept, maxlen=keep)

    def add(self, step: int, measures: Mapping[str, float]) -> None:
        """Append the measures of a step."""
        self.records.append((step, dict(measures)))

    @property
    def step(self) -> int:
        """The last step recorded."""
        return self.records[-1][0]

    @property
    def names(self) -> list[str]:
        """The names of everything that has been measured."""
        return list(dict.fromkeys(key.rpartition("/")[0] for _, measures in self.records for key in measures))

    def series(self, name: str, measure: str) -> list[float]:
        """Return the values of a measure, oldest first; records without it are left out."""
        key = f"{name}/{measure}"
        return [measures[key] for _, measures in self.records if key in measures]

    def worst(self, measure: str) -> list[float]:
        """Return the largest value over all names, record by record; records without any are left out."""
        records = ([m[key] for key in m if key.endswith(f"/{measure}")] for _, m in self.records)
        return [max(values) for values in records if values]
