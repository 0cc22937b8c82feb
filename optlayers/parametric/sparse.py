"""Affine maps with few entries that are not zero, as those of the rows of large blocks."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.symbolic import Affine


class SparseAffine(Affine):
    """An affine map given by triplets, each position and parameter once.

    It becomes dense when its `constant` or `linear` is first asked for.
    """

    index: np.ndarray  # (k,): positions in C order
    parameter: np.ndarray  # (k,): the parameter entry that the value is multiplied with; `parameters` for none
    value: np.ndarray  # (k,)

    def __init__(
        self, shape: tuple[int, ...], parameters: int, index: np.ndarray, parameter: np.ndarray, value: np.ndarray
    ) -> None:
        vars(self).update(
            _shape=shape, _parameters=parameters, index=index, parameter=parameter, value=value
        )  # the base class is frozen

    @property
    def shape(self) -> tuple[int, ...]:
        return self.__dict__["_shape"]

    @property
    def parameters(self) -> int:
        return self.__dict__["_parameters"]

    @property
    def is_constant(self) -> bool:
        return bool(self.parameter.min(initial=self.parameters) == self.parameters)

    @property
    def is_zero(self) -> bool:
        return self.is_constant and not self.value.any()

    def scaled(self, factor: np.ndarray | float) -> "SparseAffine":
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), self.shape).ravel()
        return self._of(self.shape, self.index, self.parameter, self.value * factors[self.index])

    def reshaped(self, *shape: int) -> "SparseAffine":
        size = int(np.prod(self.shape))
        shape = tuple(size // -int(np.prod(shape)) if length < 0 else length for length in shape)
        return self._of(shape, self.index, self.parameter, self.value)

    def __getitem__(self, index: np.ndarray | slice) -> "SparseAffine":
        """Select entries of a vector, or rows of a matrix."""
        chosen, width = np.arange(self.shape[0])[index], int(np.prod(self.shape[1:]))
        row, column = np.divmod(self.index, width)
        order = np.argsort(row, kind="stable")
        start, stop = (np.searchsorted(row[order], chosen, side=side) for side in ("left", "right"))
        positions = order[ranges(start, stop)]
        position = np.repeat(np.arange(len(chosen)), stop - start) * width + column[positions]
        return self._of((*chosen.shape, *self.shape[1:]), position, self.parameter[positions], self.value[positions])

    def dense(self) -> Affine:
        """Return the same map, with all its numbers."""
        return Affine(self.constant, self.linear)

    def _of(
        self, shape: tuple[int, ...], index: np.ndarray, parameter: np.ndarray, value: np.ndarray
    ) -> "SparseAffine":
        return SparseAffine(shape, self.parameters, index, parameter, value)

    @cached_property
    def constant(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        is_number = self.parameter == self.parameters
        return (
            np.bincount(self.index[is_number], self.value[is_number], int(np.prod(self.shape)))
            .reshape(self.shape)
            .astype(float)
        )

    @cached_property
    def linear(self) -> sp.csr_array:  # pyright: ignore[reportIncompatibleVariableOverride]
        is_slope = self.parameter < self.parameters
        position = (self.index[is_slope], self.parameter[is_slope])
        return sp.csr_array((self.value[is_slope], position), shape=(int(np.prod(self.shape)), self.parameters))


class Entries(NamedTuple):
    """The entries of a matrix that are not zero for all parameters, in C order; arrays ``(k,)``."""

    row: np.ndarray
    column: np.ndarray
    constant: np.ndarray  # what does not depend on parameters
    is_parametric: np.ndarray

    def per_row(self, rows: int) -> np.ndarray:
        """Return how many entries each row has."""
        return np.bincount(self.row, minlength=rows)


def _triplets(data: Affine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions in C order, parameters (`data.parameters` for none) and values."""
    if isinstance(data, SparseAffine):
        return data.index, data.parameter, data.value
    flat = data.constant.ravel()
    index = np.flatnonzero(flat)
    parameter, value = np.full(len(index), data.parameters), flat[index]
    if data.is_constant:
        return index, parameter, value
    linear = data.linear.tocoo()
    return (
        np.concatenate([index, linear.row]),
        np.concatenate([parameter, linear.col]),
        np.concatenate([value, linear.data]),
    )


def entries_of(matrix: Affine) -> Entries:
    """Return where a matrix is not zero, without making it dense."""
    position, parameter, value = _triplets(matrix)
    counts = (value != 0) | (parameter < matrix.parameters)
    index, inverse = np.unique(position[counts], return_inverse=True)
    fixed = parameter[counts] == matrix.parameters
    constant = np.bincount(inverse[fixed], value[counts][fixed], len(index))
    is_parametric = np.bincount(inverse[~fixed], minlength=len(index)) > 0
    return Entries(*np.divmod(index, matrix.shape[1]), constant, is_parametric)


def stack_rows(vectors: Sequence[Affine], size: int, parameters: int) -> SparseAffine:
    """Return vectors of one size as the rows of a matrix."""
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    triplets = [_triplets(vector) for vector in vectors]
    index, parameter, value = (np.concatenate(part) for part in zip(nothing, *triplets, strict=True))
    row = np.repeat(np.arange(len(vectors)), [len(indices) for indices, _, _ in triplets])
    return SparseAffine((len(vectors), size), parameters, row * size + index, parameter, value)


def ranges(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return all numbers from each start up to its stop."""
    length = stop - start
    return np.repeat(stop - np.cumsum(length), length) + np.arange(length.sum())


def is_permutation(index: np.ndarray, size: int) -> bool:
    """Whether numbers are those below `size`, each once, in any order."""
    return np.array_equal(np.sort(index), np.arange(size))


def nonzeros(data: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in C order, ascending, and values of the numbers that are not zero, without parameters."""
    index, parameter, value = _triplets(data)
    is_number = (parameter == data.parameters) & (value != 0)
    order = np.argsort(index[is_number])
    return index[is_number][order], value[is_number][order]


def sparse_matrix(data: Affine) -> sp.csr_array:
    """Return the numbers of a matrix, without what parameters add; column indices are sorted."""
    index, value = nonzeros(data)
    return sp.csr_array((value, np.divmod(index, data.shape[1])), shape=data.shape)
