"""Rows of ``A(p) y + b(p)``, with `A` and `b` affine in the parameters, as one sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.sparse import SparseAffine
from optlayers.parametric.symbolic import Affine


@dataclass(frozen=True, eq=False)
class AffineRows:
    """The rows ``A(p) y + b(p)``, where ``y`` has n entries and ``p`` has P.

    Column ``j * (P + 1) + k`` of `data` holds the coefficient of ``y_j p_k``, with ``p_P = 1`` and ``y_n = 1``: row
    operations on ``A`` and ``b`` together, parameters included, are products from the left.
    """

    data: sp.csr_array  # (m, (n + 1) * (P + 1))
    n: int  # the number of entries of ``y``
    parameters: int  # the number of entries of ``p``
    sources: sp.csr_array  # (m, constraints): not zero where the row comes from that constraint

    def __len__(self) -> int:
        return len(self.sources.indptr) - 1

    def __getitem__(self, index: np.ndarray | slice) -> AffineRows:
        return AffineRows(sp.csr_array(self.data[index]), self.n, self.parameters, sp.csr_array(self.sources[index]))

    def triplets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (row, entry of y, entry of p, coefficient) of every nonzero."""
        row = np.repeat(np.arange(len(self)), np.diff(self.data.indptr))
        column, parameter = np.divmod(self.data.indices.astype(np.int64), self.parameters + 1)
        return row, column, parameter, self.data.data

    @property
    def matrix(self) -> sp.csr_array:
        """The part of ``A`` that does not depend on the parameters, shape (m, n)."""
        row, column, parameter, value = self.triplets()
        keep = (column < self.n) & (parameter == self.parameters)
        return sp.csr_array((value[keep], (row[keep], column[keep])), shape=(len(self), self.n))

    @property
    def offset(self) -> Affine:
        """The vector ``b``."""
        return self.on(np.array([self.n])).reshaped(len(self)).dense()

    @property
    def is_parametric(self) -> np.ndarray:
        """Whether the row's part of ``A`` depends on a parameter, shape (m,)."""
        row, column, parameter, _ = self.triplets()
        result = np.zeros(len(self), dtype=bool)
        result[row[(column < self.n) & (parameter < self.parameters)]] = True
        return result

    def on(self, columns: np.ndarray) -> SparseAffine:
        """Return some columns of ``A``, sorted, as a map of the parameters, shape (m, len(columns)); n is ``b``."""
        row, column, parameter, value = self.triplets()
        position = np.searchsorted(columns, column)
        keep = np.append(columns, -1)[position] == column
        shape = (len(self), len(columns))
        index = row[keep] * len(columns) + position[keep]
        return SparseAffine(shape, self.parameters, index, parameter[keep], value[keep])

    def sources_of(self, row: int) -> tuple[int, ...]:
        """Return the numbers of the user's constraints that a row comes from."""
        return tuple(self.sources.indices[self.sources.indptr[row] : self.sources.indptr[row + 1]].tolist())

    def combined(self, matrix: Any) -> AffineRows:
        """Return ``matrix @ rows``, with what cancels to rounding removed."""
        left = sp.csr_array(matrix)
        data = sp.csr_array(left @ self.data)
        size = _aligned(sp.csr_array(abs(left) @ abs(self.data)), data)
        data.data[np.abs(data.data) <= 8 * np.finfo(float).eps * size] = 0
        data.eliminate_zeros()
        return AffineRows(data, self.n, self.parameters, sp.csr_array(abs(left) @ self.sources))

    def scaled(self, factor: float) -> AffineRows:
        return AffineRows(self.data * factor, self.n, self.parameters, self.sources)

    def renamed(self, old: np.ndarray | int, new: np.ndarray | int) -> AffineRows:
        """Return the rows with entry `new` of ``y`` in place of entry `old`; each may be one number per row."""
        row, column, parameter, value = self.triplets()
        old, new = (np.broadcast_to(entry, (len(self),))[row] for entry in (old, new))
        return self._from_triplets(self.n, row, np.where(column == old, new, column), parameter, value)

    def moved(self, index: np.ndarray) -> AffineRows:
        """Return the rows for another ``y``, with entry ``index[j]`` of it in place of entry `j`; last is ``b``."""
        row, column, parameter, value = self.triplets()
        return self._from_triplets(int(index[-1]), row, index[column], parameter, value)

    def _from_triplets(
        self, n: int, row: np.ndarray, column: np.ndarray, parameter: np.ndarray, value: np.ndarray
    ) -> AffineRows:
        width = self.parameters + 1
        data = sp.csr_array((value, (row, column * width + parameter)), shape=(len(self), (n + 1) * width))
        return AffineRows(data, n, self.parameters, self.sources)

    @property
    def is_fixed(self) -> np.ndarray:
        """Whether the row is a number: it depends neither on ``y`` nor on a parameter, shape (m,)."""
        last = (self.n + 1) * (self.parameters + 1) - 1
        row = np.repeat(np.arange(len(self)), np.diff(self.data.indptr))
        return np.bincount(row[self.data.indices != last], minlength=len(self)) == 0

    def numbers(self, *values: float) -> AffineRows:
        """Return rows that are the given numbers; they come from where all these rows come from."""
        width = (self.n + 1) * (self.parameters + 1)
        last = np.full(len(values), width - 1)
        data = sp.csr_array((np.array(values), (np.arange(len(values)), last)), shape=(len(values), width))
        everywhere = sp.csr_array(np.ones((len(values), len(self)))) @ self.sources
        return AffineRows(data, self.n, self.parameters, sp.csr_array(everywhere))

    def __add__(self, other: AffineRows) -> AffineRows:
        both = AffineRows.concatenate([self, other])
        identity = sp.eye_array(len(self))
        return both.combined(sp.hstack([identity, identity]))

    @staticmethod
    def concatenate(parts: Sequence[AffineRows]) -> AffineRows:
        first = parts[0]
        data = sp.csr_array(sp.vstack([part.data for part in parts], format="csr"))
        sources = sp.csr_array(sp.vstack([part.sources for part in parts], format="csr"))
        return AffineRows(data, first.n, first.parameters, sources)


def _aligned(size: sp.csr_array, data: sp.csr_array) -> np.ndarray:
    """Sort both by column, and return the entries of `size` at the stored places of `data` (a subset of its own)."""
    data.sort_indices()
    size.sort_indices()
    if np.array_equal(data.indices, size.indices) and np.array_equal(data.indptr, size.indptr):
        return size.data
    row = np.repeat(np.arange(len(data.indptr) - 1), np.diff(data.indptr))
    return np.asarray(size[row, data.indices]).ravel()
