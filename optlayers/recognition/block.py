"""A block: entries of the variables that share constraints with each other and with no other entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.range import Range
from optlayers.parametric.sparse import SparseAffine, sparse_matrix, stack_rows
from optlayers.parametric.symbolic import Affine, Data

Vectors = Mapping[str, Data | None]  # the data of a set without ranges, by the names of its attributes
Fields = Mapping[str, Data | Range[Data] | None]

_CONE_NAMES = {"soc": "second-order", "psd": "semidefinite", "exp": "exponential", "pow": "power"}


@dataclass(frozen=True, eq=False)
class Row:
    """One linear function of a block's entries, between two bounds: ``lower <= normal @ y <= upper``.

    Attributes
    ----------
    normal : Affine, shape (n,)
    range : Range of data of shape ()
    below, above : tuple of int
        The user's constraints that the lower bound comes from, and the upper one.
    """

    normal: Affine
    range: Range[Data]
    below: tuple[int, ...]
    above: tuple[int, ...]

    @property
    def is_homogeneous(self) -> bool:
        """Whether it says that the linear function is zero."""
        return self.is_equality and self.range.value.is_zero

    @property
    def sources(self) -> set[int]:
        """The user's constraints that the bounds come from."""
        return self.sources_at(0)

    def sources_at(self, side: float) -> set[int]:
        """Return the user's constraints that bound the row from the given side (0: both)."""
        return {*(self.below if side >= 0 else ()), *(self.above if side <= 0 else ())}

    @property
    def lower(self) -> Data | None:
        return self.range.lower

    @property
    def upper(self) -> Data | None:
        return self.range.upper

    def bound(self, side: float) -> Data | None:
        """Return the lower bound (`side` is positive) or the upper one."""
        return self.lower if side > 0 else self.upper

    @property
    def is_equality(self) -> bool:
        return self.range.is_fixed


@dataclass(frozen=True, eq=False)
class BlockCone:
    """A cone constraint ``normals @ y + offset in K`` on a block; both are affine in the parameters."""

    kind: str
    normals: Affine
    offset: Affine
    alpha: float
    sources: tuple[int, ...]

    @cached_property
    def matrix(self) -> sp.csr_array | None:
        """The normals as numbers, without zeros, sorted; None where they depend on parameters."""
        return sparse_matrix(self.normals) if self.normals.is_constant else None


@dataclass(frozen=True, eq=False)
class Block:
    """The constraints on one block, in local coordinates: the entries in `columns`, then `auxiliary` more.

    Attributes
    ----------
    columns : ndarray of int, shape (n,)
        The entries of the user's variables.
    auxiliary : int
        The number of auxiliary entries; a closed form needs it to be 0.
    lower, upper : data of shape (n + auxiliary,), or None where no entry is bounded on that side
    rows : tuple of Row
        No two are parallel.
    cones : tuple of BlockCone
    bounds : ndarray of int, shape (3, b)
        Triples of a bounded local entry, a constraint of the user that bounds it (the tightest one, where that does
        not depend on parameters), and the side: 1 from below, -1 from above; sorted.
    parameters : int
        The number of parameter entries.
    """

    columns: np.ndarray
    auxiliary: int
    lower: Data | None
    upper: Data | None
    rows: tuple[Row, ...]
    cones: tuple[BlockCone, ...]
    bounds: np.ndarray
    parameters: int

    @property
    def size(self) -> int:
        """The number of entries of the user's variables."""
        return len(self.columns)

    @cached_property
    def normals(self) -> SparseAffine:
        """The normals of all rows, shape (rows, n + auxiliary)."""
        return stack_rows([row.normal for row in self.rows], self.size + self.auxiliary, self.parameters)

    @property
    def has_bounds(self) -> bool:
        return self.lower is not None or self.upper is not None

    @property
    def bounded(self) -> int:
        """The number of entries with a bound."""
        return len(np.unique(self.bounds[0]))

    def bound_sources(self, entries: np.ndarray, sides: np.ndarray | int = 0) -> set[int]:
        """Return the user's constraints that bound some entries, from the given sides (0: both)."""
        side = np.zeros(self.size + self.auxiliary, dtype=np.int64)
        chosen = np.zeros(len(side), dtype=bool)
        side[entries], chosen[entries] = sides, True
        entry, source, bound_side = self.bounds
        return set(source[chosen[entry] & (side[entry] * bound_side >= 0)].tolist())

    def sources_by_entry(self, side: int = 0) -> list[set[int]]:
        """Return the user's constraints that bound each entry, from the given side (0: both)."""
        result: list[set[int]] = [set() for _ in range(self.size + self.auxiliary)]
        for entry, source, bound_side in self.bounds.T.tolist():
            if side * bound_side >= 0:
                result[entry].add(source)
        return result

    def row_sources(self, side: float = 0) -> set[int]:
        """Return the user's constraints that bound the rows, from the given side (0: both)."""
        return set().union(*(row.sources_at(side) for row in self.rows))

    @property
    def cone_sources(self) -> set[int]:
        """The user's constraints that the cones come from."""
        return {source for cone in self.cones for source in cone.sources}

    @property
    def sources(self) -> set[int]:
        """The user's constraints that touch the block."""
        return set(self.bounds[1].tolist()) | self.row_sources() | self.cone_sources

    def summary(self) -> str:
        """Say what the block consists of."""
        parts = []
        equalities = sum(row.is_equality for row in self.rows)
        parts += _count(equalities, "equality", "equalities")
        parts += _count(len(self.rows) - equalities, "inequality", "inequalities")
        if self.has_bounds:
            parts.append(f"bounds on {self.bounded} of {self.size + self.auxiliary} entries")
        for kind, name in _CONE_NAMES.items():
            parts += _count(sum(cone.kind == kind for cone in self.cones), f"{name} cone", f"{name} cones")
        parts += _count(self.auxiliary, "auxiliary variable", "auxiliary variables")
        return ", ".join(parts) or "no constraint"


def _count(number: int, singular: str, plural: str) -> list[str]:
    return [f"{number} {singular if number == 1 else plural}"] if number else []
