"""Data of a set as functions of the parameters, held symbolically in NumPy while a set is recognised.

A set's `Data` (bounds, totals, ...) are fixed numbers or affine in the user's parameters, `Affine`, or `Derived`,
a function of several of them (the larger of bounds, a radius from its square). `compile` makes it one of tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast, overload

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.parametric import functions
from optlayers.parametric.maps import AffineMap, DerivedMap, Map, Term, Values


class Data(ABC):
    """Numbers that are a function of the parameters."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Without batch dimensions."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """The number of parameter entries."""

    @property
    @abstractmethod
    def is_constant(self) -> bool: ...

    @property
    @abstractmethod
    def signature(self) -> object:
        """Equal for data that can be stacked."""

    @property
    def numbers(self) -> np.ndarray | None:
        """The numbers, where they are constant."""
        return None

    @property
    def is_zero(self) -> bool:
        """Whether all numbers are zero."""
        return self.numbers is not None and not self.numbers.any()

    @property
    @abstractmethod
    def is_uniform(self) -> bool:
        """Whether all entries are known to be one and the same function of the parameters."""

    def __add__(self, other: Data) -> Data:
        return self if other.is_zero else derived(torch.add, self, other)

    def __sub__(self, other: Data) -> Data:
        return self if other.is_zero else derived(torch.sub, self, other)

    def __neg__(self) -> Data:
        return self.scaled(-1.0)

    @abstractmethod
    def __getitem__(self, index: np.ndarray | slice) -> Data:
        """Select entries of a vector."""

    @abstractmethod
    def scaled(self, factor: np.ndarray | float) -> Data:
        """Multiply entry by entry."""

    @abstractmethod
    def mapped(self, matrix: np.ndarray | sp.sparray) -> Data:
        """Multiply a vector by a constant matrix."""

    @abstractmethod
    def reshaped(self, *shape: int) -> Data:
        """Give the numbers, in C order, another shape."""

    @abstractmethod
    def compile(self, starts: Sequence[int]) -> Map:
        """Return the torch form; parameter ``k`` holds the entries from ``starts[k]``."""


@dataclass(frozen=True, eq=False)
class Affine(Data):
    """The map ``p -> constant + linear @ p``, of the shape of `constant`.

    Infinite entries are allowed where the row of `linear` is zero.
    """

    constant: np.ndarray
    linear: sp.csr_array  # (constant.size, P); rows in C order of `constant`, columns are the entries of all parameters

    @classmethod
    def of(cls, constant: np.ndarray | float, parameters: int) -> Affine:
        """Return the constant map of `parameters` parameter entries."""
        constant = np.asarray(constant, dtype=np.float64)
        return cls(constant, sp.csr_array((constant.size, parameters)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.constant.shape

    @property
    def is_constant(self) -> bool:
        return self.linear.indptr[-1] == 0

    @property
    def numbers(self) -> np.ndarray | None:
        return self.constant if self.is_constant else None

    @property
    def is_uniform(self) -> bool:
        same = bool((self.constant == self.constant.flat[0]).all())
        if not same or self.is_constant:
            return same
        return (self.linear - self.linear[np.zeros(self.constant.size, dtype=np.int64)]).count_nonzero() == 0

    @property
    def is_parametric(self) -> np.ndarray:
        """Whether each entry depends on a parameter, in C order."""
        return np.diff(self.linear.indptr) > 0

    @property
    def parameters(self) -> int:
        return cast(tuple[int, int], self.linear.shape)[1]

    @property
    def signature(self) -> object:
        return self.shape

    @overload
    def __add__(self, other: Affine) -> Affine: ...
    @overload
    def __add__(self, other: Data) -> Data: ...
    def __add__(self, other: Data) -> Data:
        if not isinstance(other, Affine):
            return super().__add__(other)
        constant = self.constant + other.constant
        if self.is_constant and other.is_constant:
            return Affine.of(constant, self.parameters)
        return Affine(constant, sp.csr_array(self.linear + other.linear))

    @overload
    def __sub__(self, other: Affine) -> Affine: ...
    @overload
    def __sub__(self, other: Data) -> Data: ...
    def __sub__(self, other: Data) -> Data:
        return self + -other

    def __neg__(self) -> Affine:
        return self.scaled(-1.0)

    def scaled(self, factor: np.ndarray | float) -> Affine:
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), self.shape)
        if self.is_constant:
            return Affine(self.constant * factors, self.linear)
        return Affine(self.constant * factors, sp.csr_array(sp.diags_array(factors.ravel()) @ self.linear))

    def mapped(self, matrix: np.ndarray | sp.sparray) -> Affine:
        constant = np.asarray(matrix @ self.constant)
        if self.is_constant:
            return Affine.of(constant, self.parameters)
        return Affine(constant, sp.csr_array(matrix @ self.linear))

    def __getitem__(self, index: np.ndarray | slice) -> Affine:
        return Affine(self.constant[index], sp.csr_array(self.linear[index]))

    def reshaped(self, *shape: int) -> Affine:
        return Affine(self.constant.reshape(shape), self.linear)

    @staticmethod
    def stack(maps: Sequence[Affine]) -> Affine:
        """Stack maps of one shape along a new first dimension."""
        constant = np.stack([m.constant for m in maps])
        if all(m.is_constant for m in maps):
            return Affine.of(constant, maps[0].parameters)
        return Affine(constant, sp.csr_array(sp.vstack([m.linear for m in maps])))

    def compile(self, starts: Sequence[int]) -> AffineMap:
        linear = self.linear.tocoo()
        order = np.lexsort((linear.col, linear.row))
        rows, columns, data = linear.row[order].astype(np.int64), linear.col[order].astype(np.int64), linear.data[order]
        owner = np.searchsorted(np.asarray(starts), columns, side="right") - 1
        terms = []
        for k in np.unique(owner):
            mine = owner == k
            terms.append(Term(int(k), rows[mine], columns[mine] - starts[k], data[mine], self.constant.size))
        return AffineMap(self.constant, terms)


@dataclass(frozen=True, eq=False)
class Derived(Data):
    """A torch function of other data; `function` treats leading dimensions as batch dimensions."""

    function: Callable[..., Tensor]
    arguments: tuple[Data, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.function(*(torch.zeros(argument.shape) for argument in self.arguments)).shape)

    @property
    def is_constant(self) -> bool:
        return all(argument.is_constant for argument in self.arguments)

    @property
    def parameters(self) -> int:
        return self.arguments[0].parameters

    @property
    def signature(self) -> object:
        return (self.function, *(argument.signature for argument in self.arguments))

    @property
    def is_uniform(self) -> bool:
        return functions.is_uniform(self.function) and all(argument.is_uniform for argument in self.arguments)

    def __getitem__(self, index: np.ndarray | slice) -> Data:
        return derived(functions.Select(tuple(np.arange(self.shape[0])[index].tolist())), self)

    def scaled(self, factor: np.ndarray | float) -> Data:
        factors = np.unique(factor)
        if len(factors) > 1:
            return derived(functions.Times(tuple(np.asarray(factor).tolist())), self)
        return self if factors[0] == 1 else derived(functions.Times(float(factors[0])), self)

    def mapped(self, matrix: np.ndarray | sp.sparray) -> Data:
        return derived(functions.product, Affine.of(sp.csr_array(matrix).toarray(), self.parameters), self)

    def reshaped(self, *shape: int) -> Data:
        return derived(functions.Reshape(len(self.shape), shape), self)

    def compile(self, starts: Sequence[int]) -> DerivedMap:
        return DerivedMap(self.function, [argument.compile(starts) for argument in self.arguments])


def derived(function: Callable[..., Tensor], *arguments: Data) -> Data:
    """Return ``function(*arguments)``, computed at once where no argument depends on a parameter."""
    result = Derived(function, arguments)
    if not result.is_constant:
        return result
    value = result.compile([])(Values((), torch.float64, torch.device("cpu")))
    return Affine.of(value.numpy(), result.parameters)


def stack(data: Sequence[Data]) -> Data:
    """Stack data of one signature along a new first dimension."""
    affine = [d for d in data if isinstance(d, Affine)]
    if affine:
        return Affine.stack(affine)
    others = [d for d in data if isinstance(d, Derived)]
    return Derived(others[0].function, tuple(map(stack, zip(*(d.arguments for d in others), strict=True))))


def gather(data: Sequence[Data | None], absent: float, parameters: int) -> Data:
    """Return numbers, one each of `data`, as one vector; `absent` where there is no data."""
    given = [Affine.of(absent, parameters) if d is None else d for d in data]
    affine, others = [d for d in given if isinstance(d, Affine)], [d for d in given if isinstance(d, Derived)]
    first = Affine.stack(affine) if affine else Affine.of(np.zeros(0), parameters)
    if not others:
        return first
    numbers = iter(range(len(affine))), iter(range(len(affine), len(data)))
    return derived(functions.Interleave(tuple(next(numbers[isinstance(d, Derived)]) for d in given)), first, *others)


def concatenate(first: Data, second: Data) -> Data:
    """Return two vectors joined."""
    if isinstance(first, Affine) and isinstance(second, Affine):
        constant = np.concatenate([first.constant, second.constant])
        return Affine(constant, sp.csr_array(sp.vstack([first.linear, second.linear])))
    return derived(functions.join, first, second)


def as_number(data: Data | None, absent: float) -> float:
    """Return a number; `absent` where there is no data; NaN, which compares with nothing, where it has parameters."""
    if data is None:
        return absent
    return np.nan if data.numbers is None else data.numbers.item()


def largest(data: Sequence[Data]) -> Data:
    """Return the entrywise maximum of data of one shape."""
    return data[0] if len(data) == 1 else derived(functions.maximum, *data)


def smallest(data: Sequence[Data]) -> Data:
    """Return the entrywise minimum of data of one shape."""
    return data[0] if len(data) == 1 else derived(functions.minimum, *data)
