"""Rows on one entry: bounds, as layers whose maximum or minimum counts."""

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.affine_rows import AffineRows
from optlayers.parametric.symbolic import Affine, Data, largest, smallest


def sort_rows(rows: AffineRows) -> tuple[AffineRows, AffineRows, AffineRows]:
    """Return rows on one entry with a constant coefficient, rows on several entries, and rows on none."""
    count = entries_per_row(rows)
    single = (count == 1) & ~rows.is_parametric
    return rows[single], rows[(count > 0) & ~single], rows[count == 0]


def entries_per_row(rows: AffineRows) -> np.ndarray:
    """Return how many entries of ``y`` each row contains."""
    row, column, _, _ = rows.triplets()
    is_entry = column < rows.n
    pairs = np.unique(row[is_entry] * rows.n + column[is_entry])
    return np.bincount(pairs // max(rows.n, 1), minlength=len(rows))


def read_bounds(rows: AffineRows) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Return entries, coefficients and bounds of rows ``coefficient * (y_entry - bound)``."""
    row, column, _, value = rows.triplets()
    is_entry = column < rows.n
    order = np.argsort(row[is_entry])
    entry, coefficient = column[is_entry][order], value[is_entry][order]
    return entry, coefficient, rows.offset.scaled(-1 / coefficient)


def collect_sides(bounds: AffineRows, fixed: AffineRows | None = None) -> tuple["Side", "Side"]:
    """Return the lower and the upper bounds that inequalities on one entry set, and equalities on one."""
    coefficient = read_bounds(bounds)[1]
    both = [] if fixed is None else [fixed]
    lower, upper = (Side(AffineRows.concatenate([*both, bounds[s * coefficient > 0]]), s) for s in (1.0, -1.0))
    return lower, upper


class Side:
    """The lower (`sign` is 1) or the upper (-1) bounds of all entries, from rows on one entry each."""

    def __init__(self, rows: AffineRows, sign: float) -> None:
        self.sign = sign
        self._rows = rows
        self._entry, _, self._bound = read_bounds(rows)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The tightest bounds that do not depend on parameters; infinite where there are none."""
        result = np.full(self._rows.n, -np.inf * self.sign)
        number, best = ~self._bound.is_parametric, np.maximum if self.sign > 0 else np.minimum
        best.at(result, self._entry[number], self._bound.constant[number] + 0.0)  # + 0.0: no negative zero
        return result

    @cached_property
    def _layers(self) -> list[Affine]:
        """Bounds on all entries whose maximum (minimum) counts: each has at most one of those with parameters."""
        parametric = np.flatnonzero(self._bound.is_parametric)
        parametric = parametric[np.argsort(self._entry[parametric], kind="stable")]
        entry = self._entry[parametric]
        level = np.arange(len(entry)) - np.searchsorted(entry, entry) + np.isfinite(self.numbers[entry])
        layers, n = [], self._rows.n
        for k in range(level.max(initial=0) + 1):
            chosen = parametric[level == k]
            values = self.numbers.copy() if k == 0 else np.full(n, -np.inf * self.sign)
            values[self._entry[chosen]] = self._bound.constant[chosen]
            position = (self._entry[chosen], chosen)
            spread = sp.csr_array((np.ones(len(chosen)), position), shape=(n, len(self._entry)))
            layers.append(Affine(values, sp.csr_array(spread @ self._bound.linear)))
        return layers

    def on(self, columns: np.ndarray) -> Data | None:
        """Return the bound on some entries, or None where none of them is bounded."""
        parts = [layer[columns] for layer in self._layers]
        parts = [p for p in parts if not p.is_constant or np.isfinite(p.constant).any()]
        if not parts:
            return None
        return largest(parts) if self.sign > 0 else smallest(parts)

    def sources(self) -> np.ndarray:
        """Return (entry, source, side) of the bounds that count: those with parameters, and the tightest number."""
        keep = self._bound.is_parametric | (self._bound.constant == self.numbers[self._entry])
        pairs = sp.coo_array(self._rows.sources[keep])
        entry, source = self._entry[keep][pairs.row], pairs.col.astype(np.int64)
        return np.unique(np.stack([entry, source, np.full(len(entry), int(self.sign))]), axis=1)
