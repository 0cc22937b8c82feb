"""Rows on one entry: bounds, as layers whose maximum or minimum counts."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.parametric.symbolic import Affine, Data, largest, smallest


@dataclass(frozen=True, eq=False)
class BoundRows:
    """Rows ``coefficient * y_entry + offset`` with constant coefficients."""

    rows: AffineRows
    entry: np.ndarray
    coefficient: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "BoundRows":
        return BoundRows(self.rows[index], self.entry[index], self.coefficient[index])

    @staticmethod
    def concatenate(one: "BoundRows", other: "BoundRows") -> "BoundRows":
        return BoundRows(
            AffineRows.concatenate([one.rows, other.rows]),
            np.concatenate([one.entry, other.entry]),
            np.concatenate([one.coefficient, other.coefficient]),
        )


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Rows by their number of entries: one (with a constant coefficient), several, none."""

    bounds: BoundRows
    several: AffineRows
    empty: AffineRows


def sort_rows(rows: AffineRows) -> SortedRows:
    """Sort linear rows by their number of entries."""
    count = entries_per_row(rows)
    single = (count == 1) & ~rows.is_parametric
    chosen = rows[single]
    row, column, _, value = chosen.triplets()
    is_entry = column < rows.n
    order = np.argsort(row[is_entry])
    bounds = BoundRows(chosen, column[is_entry][order], value[is_entry][order])
    return SortedRows(bounds, rows[(count > 0) & ~single], rows[count == 0])


def entries_per_row(rows: AffineRows) -> np.ndarray:
    """Return how many entries of ``y`` each row contains."""
    row, column, _, _ = rows.triplets()
    is_entry = column < rows.n
    pairs = np.unique(row[is_entry] * rows.n + column[is_entry])
    return np.bincount(pairs // max(rows.n, 1), minlength=len(rows))


@dataclass
class Side:
    """The lower or the upper bounds of all entries, as layers whose maximum (minimum) is the bound."""

    layers: list[Affine]
    sign: float  # +1: lower bounds, the largest counts; -1: upper bounds, the smallest counts

    def on(self, columns: np.ndarray) -> Data | None:
        """Return the bound on some entries, or None where none of them is bounded."""
        parts = [layer[columns] for layer in self.layers]
        parts = [p for p in parts if not p.is_constant or np.isfinite(p.constant).any()]
        if not parts:
            return None
        return largest(parts) if self.sign > 0 else smallest(parts)

    @property
    def fixed(self) -> np.ndarray:
        """The bounds where they are numbers; infinite where there are none or they depend on parameters."""
        result = np.full(self.layers[0].shape, -np.inf * self.sign)
        parametric = np.zeros(len(result), dtype=bool)
        for layer in self.layers:
            parametric |= layer.is_parametric
            result = np.maximum(result, layer.constant) if self.sign > 0 else np.minimum(result, layer.constant)
        result[parametric] = -np.inf * self.sign
        return result


def collect_side(bounds: BoundRows, sign: float) -> Side:
    """Collect the bounds ``sign * (y - bound) >= 0``, from rows whose coefficients need not have that sign."""
    rows, column = bounds.rows, bounds.entry
    bound = rows.offset.scaled(-1 / bounds.coefficient)
    parametric = bound.is_parametric
    constant = np.full(rows.n, -np.inf * sign)
    best = np.maximum if sign > 0 else np.minimum
    best.at(constant, column[~parametric], bound.constant[~parametric] + 0.0)  # + 0.0: no negative zero
    depth: dict[int, int] = defaultdict(int)
    members: list[list[int]] = [[]]
    for k in np.flatnonzero(parametric).tolist():
        c = int(column[k])
        level = depth[c] + (1 if np.isfinite(constant[c]) else 0)
        depth[c] += 1
        while len(members) <= level:
            members.append([])
        members[level].append(k)
    layers = []
    for level, chosen in enumerate(members):
        values = constant.copy() if level == 0 else np.full(rows.n, -np.inf * sign)
        values[column[chosen]] = bound.constant[chosen]
        spread = sp.csr_array((np.ones(len(chosen)), (column[chosen], chosen)), shape=(rows.n, len(rows)))
        layers.append(Affine(values, sp.csr_array(spread @ bound.linear)))
    return Side(layers, sign)
