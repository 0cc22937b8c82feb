"""Affine maps with few entries that are not zero, as those of the rows of large blocks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.symbolic import Affine


class SparseAffine(Affine):
    """An affine map given by triplets, each place and parameter once.

    It becomes dense when its `constant` or `linear` is first asked for.

    Attributes
    ----------
    index : ndarray of int, shape (k,)
        Places in C order.
    parameter : ndarray of int, shape (k,)
        The parameter entry that the value is multiplied with; `parameters` for none.
    value : ndarray, shape (k,)
    """

    index: np.ndarray
    parameter: np.ndarray
    value: np.ndarray

    def __init__(
        self, shape: tuple[int, ...], parameters: int, index: np.ndarray, parameter: np.ndarray, value: np.ndarray
    ) -> None:
        self.__dict__.update(
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
        return bool((self.parameter == self.parameters).all())

    @cached_property
    def constant(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        own = self.parameter == self.parameters
        return np.bincount(self.index[own], self.value[own], int(np.prod(self.shape))).reshape(self.shape)

    @cached_property
    def linear(self) -> sp.csr_array:  # pyright: ignore[reportIncompatibleVariableOverride]
        own = self.parameter < self.parameters
        place = (self.index[own], self.parameter[own])
        return sp.csr_array((self.value[own], place), shape=(int(np.prod(self.shape)), self.parameters))


def nonzeros(data: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in C order, ascending, and the values of the numbers that are not zero, without parameters."""
    if not isinstance(data, SparseAffine):
        flat = data.constant.ravel()
        index = np.flatnonzero(flat)
        return index, flat[index]
    own = (data.parameter == data.parameters) & (data.value != 0)
    order = np.argsort(data.index[own])
    return data.index[own][order], data.value[own][order]


def sparse_matrix(data: Affine) -> sp.csr_array:
    """Return the numbers of a matrix, without what parameters add; column indices are sorted."""
    index, value = nonzeros(data)
    return sp.csr_array((value, np.divmod(index, data.shape[1])), shape=data.shape)
