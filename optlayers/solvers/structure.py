"""The shape of a convex set in rows, without its numbers: what is bounded, which rows are equalities, which cones."""

from ast import literal_eval
from dataclasses import astuple, dataclass
from functools import lru_cache

ConeGroups = tuple[tuple[str, tuple[float, ...], int, int], ...]


def cone_slacks(groups: ConeGroups) -> int:
    """Return the number of slacks in cones, which come after all others."""
    return sum(count * dimension for _, _, count, dimension in groups)


@dataclass(frozen=True)
class Structure:
    """The set ``{x : lower <= (x_bounded, L x) <= upper, C x - lower in K}``, with rows `L` and `C` of a matrix."""

    size: int  # the number of entries whose distance counts
    auxiliary: int  # the number of others that follow them
    bounded: tuple[int, ...]  # the entries with a bound
    linear: int  # the number of rows of `L`
    equalities: tuple[int, ...]  # the rows of `L` that are equalities, ``lower == upper``
    cones: ConeGroups  # kind, exponents, number and dimension of alike cones, in the order of the rows of `C`

    @property
    def columns(self) -> int:
        """The number of all entries."""
        return self.size + self.auxiliary

    @property
    def matrix_rows(self) -> int:
        """The number of rows of the matrix."""
        return self.linear + cone_slacks(self.cones)

    @property
    def slacks(self) -> int:
        """The number of slacks: bounded entries, then rows of the matrix."""
        return len(self.bounded) + self.matrix_rows

    def encode(self) -> str:
        """Return the structure as a string, which an operator of torch can take."""
        return repr(astuple(self))

    @staticmethod
    @lru_cache(maxsize=1024)
    def decode(text: str) -> "Structure":
        """Return the structure that `encode` wrote."""
        return Structure(*literal_eval(text))
