"""Data of a set as functions of the parameters, held symbolically in NumPy while a set is recognised.

A set's `Data` (bounds, totals, ...) are fixed numbers or affine in the user's parameters, `Affine`, or `Derived`,
a function of several of them (the larger of bounds, a radius from its square). `compile` makes it one of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast, overload

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.parametric import functions
from optlayers.parametric.maps import NO_VALUES, AffineMap, DerivedMap, Term


@dataclass(frozen=True, eq=False)
class Affine:
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
        """The numbers, where they are constant."""
        return self.constant if self.is_constant else None

    @property
    def is_zero(self) -> bool:
        """Whether all numbers are zero, without parameters."""
        return self.is_constant and not self.constant.any()

    @property
    def is_uniform(self) -> bool:
        """Whether all entries are known to be one and the same function of the parameters."""
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
        """The number of parameter entries."""
        return cast(tuple[int, int], self.linear.shape)[1]

    @property
    def signature(self) -> object:
        """Equal for data that can be stacked."""
        return self.shape

    @overload
    def __add__(self, other: Affine) -> Affine: ...
    @overload
    def __add__(self, other: Data) -> Data: ...
    def __add__(self, other: Data) -> Data:
        if isinstance(other, Derived):
            return derived(torch.add, self, other)
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
        """Multiply entry by entry."""
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), self.shape)
        if self.is_constant:
            return Affine(self.constant * factors, self.linear)
        return Affine(self.constant * factors, sp.csr_array(sp.diags_array(factors.ravel()) @ self.linear))

    def mapped(self, matrix: np.ndarray | sp.sparray) -> Affine:
        """Multiply a vector by a constant matrix."""
        constant = np.asarray(matrix @ self.constant)
        if self.is_constant:
            return Affine.of(constant, self.parameters)
        return Affine(constant, sp.csr_array(matrix @ self.linear))

    def __getitem__(self, index: np.ndarray | slice) -> Affine:
        """Select entries of a vector."""
        return Affine(self.constant[index], sp.csr_array(self.linear[index]))

    def reshaped(self, *shape: int) -> Affine:
        """Give the numbers, in C order, another shape."""
        return Affine(self.constant.reshape(shape), self.linear)

    @staticmethod
    def stack(maps: Sequence[Affine]) -> Affine:
        """Stack maps of one shape along a new first dimension."""
        constant = np.stack([m.constant for m in maps])
        if all(m.is_constant for m in maps):
            return Affine.of(constant, maps[0].parameters)
        return Affine(constant, sp.csr_array(sp.vstack([m.linear for m in maps])))

    def compile(self, starts: Sequence[int]) -> AffineMap:
        """Return the torch form; parameter ``k`` holds the entries from ``starts[k]``."""
        linear = self.linear.tocoo()
        order = np.lexsort((linear.col, linear.row))
        rows, columns, data = linear.row[order].astype(np.int64), linear.col[order].astype(np.int64), linear.data[order]
        owner = np.searchsorted(np.asarray(starts), columns, side="right") - 1
        terms = []
        for k in np.unique(owner):
            chosen = owner == k
            terms.append(Term(int(k), rows[chosen], columns[chosen] - starts[k], data[chosen], self.constant.size))
        return AffineMap(self.constant, terms)


@dataclass(frozen=True, eq=False)
class Derived:
    """A torch function of other data, which does depend on parameters.

    `function` treats leading dimensions as batch dimensions; the members are those of `Affine`.
    """

    function: Callable[..., Tensor]
    arguments: tuple[Data, ...]
    numbers: ClassVar[None] = None
    is_zero: ClassVar[bool] = False

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

    def __add__(self, other: Data) -> Data:
        return self if other.is_zero else derived(torch.add, self, other)

    def __sub__(self, other: Data) -> Data:
        return self if other.is_zero else derived(torch.sub, self, other)

    def __neg__(self) -> Data:
        return self.scaled(-1.0)

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


Data = Affine | Derived


def derived(function: Callable[..., Tensor], *arguments: Data) -> Data:
    """Return ``function(*arguments)``, computed at once where no argument depends on a parameter."""
    result = Derived(function, arguments)
    if not result.is_constant:
        return result
    value = result.compile([])(NO_VALUES)
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
    numbers = Affine.stack(affine) if affine else Affine.of(np.zeros(0), parameters)
    if not others:
        return numbers
    order = np.argsort([isinstance(d, Derived) for d in given], kind="stable")
    return concatenate(numbers, *(d.reshaped(1) for d in others))[np.argsort(order)]


def concatenate(*vectors: Data) -> Data:
    """Return vectors joined."""
    affine = [v for v in vectors if isinstance(v, Affine)]
    if len(affine) < len(vectors):
        return derived(functions.join, *vectors)
    constant = np.concatenate([v.constant for v in affine])
    return Affine(constant, sp.csr_array(sp.vstack([v.linear for v in affine])))


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
