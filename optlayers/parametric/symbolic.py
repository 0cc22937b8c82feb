"""Data of a set as functions of the parameters, held symbolically in NumPy while a set is recognised.

A set's data (bounds, totals, centres, ...) are fixed numbers or affine in the user's parameters: `Affine`.
`Derived` is a function of several of them (the larger of two bounds, a radius from its square).
`compile` turns either into its torch form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from optlayers.parametric.maps import AffineMap, DerivedMap, Term, Values


@dataclass(frozen=True, eq=False)
class Affine:
    """The map ``p -> constant + linear @ p``, of the shape of `constant`.

    Attributes
    ----------
    constant : ndarray
        Any shape; infinite entries are allowed where the row of `linear` is zero.
    linear : sparse array, shape (constant.size, P)
        Rows in C order of `constant`; columns are the entries of all parameters, concatenated.
    """

    constant: np.ndarray
    linear: sp.csr_array

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
    def is_zero(self) -> bool:
        return self.is_constant and not self.constant.any()

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
        """Equal for two maps that can be stacked."""
        return self.shape

    def __add__(self, other: Affine) -> Affine:
        constant = self.constant + other.constant
        if self.is_constant and other.is_constant:
            return Affine.of(constant, self.parameters)
        return Affine(constant, sp.csr_array(self.linear + other.linear))

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scaled(-1.0)

    def scaled(self, factor: np.ndarray | float) -> Affine:
        """Multiply entry by entry."""
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), self.shape)
        if self.is_constant:
            return Affine(self.constant * factors, self.linear)
        return Affine(self.constant * factors, sp.csr_array(sp.diags_array(factors.ravel()) @ self.linear))

    def mapped(self, matrix: np.ndarray | sp.sparray) -> Affine:
        """Apply a constant matrix to a vector-valued map."""
        constant = np.asarray(matrix @ self.constant)
        if self.is_constant:
            return Affine.of(constant, self.parameters)
        return Affine(constant, sp.csr_array(matrix @ self.linear))

    def __getitem__(self, index: np.ndarray | slice) -> Affine:
        """Select entries of a vector-valued map."""
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
        """Return the torch form; parameter ``k`` holds the columns from ``starts[k]``."""
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
class Derived:
    """A torch function of other data; `function` treats leading dimensions as batch dimensions."""

    function: Callable[..., Tensor]
    arguments: tuple[Data, ...]

    @property
    def is_constant(self) -> bool:
        return all(argument.is_constant for argument in self.arguments)

    @property
    def parameters(self) -> int:
        return self.arguments[0].parameters

    @property
    def signature(self) -> object:
        return (self.function, *(argument.signature for argument in self.arguments))

    def compile(self, starts: Sequence[int]) -> DerivedMap:
        return DerivedMap(self.function, [argument.compile(starts) for argument in self.arguments])


Data = Affine | Derived


def derived(function: Callable[..., Tensor], *arguments: Data) -> Data:
    """Return ``function(*arguments)``, computed at once where no argument depends on a parameter."""
    result = Derived(function, arguments)
    if not result.is_constant:
        return result
    nothing = Values((), torch.float64, torch.device("cpu"))
    return Affine.of(result.compile([])(nothing).numpy(), result.parameters)


def stack(data: Sequence[Data]) -> Data:
    """Stack data of one signature along a new first dimension."""
    first = data[0]
    if isinstance(first, Affine):
        return Affine.stack([d for d in data if isinstance(d, Affine)])
    columns = zip(*(d.arguments for d in data if isinstance(d, Derived)), strict=True)
    return Derived(first.function, tuple(stack(column) for column in columns))


@dataclass(frozen=True)
class _Interleave:
    """Puts vectors and numbers, joined, in another order."""

    order: tuple[int, ...]

    def __call__(self, first: Tensor, *others: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(first.shape[:-1], *(other.shape for other in others))
        parts = [first.expand(*batch, first.shape[-1]), *(other.expand(batch).unsqueeze(-1) for other in others)]
        return torch.cat(parts, -1)[..., list(self.order)]


def gather(data: Sequence[Data | None], absent: float, parameters: int) -> Data:
    """Return numbers, one each of `data`, as one vector; `absent` where there is no data."""
    affine = [Affine.of(absent, parameters) if d is None else d for d in data if not isinstance(d, Derived)]
    others = [d for d in data if isinstance(d, Derived)]
    first = Affine.stack(affine) if affine else Affine.of(np.zeros(0), parameters)
    if not others:
        return first
    numbers = iter(range(len(affine))), iter(range(len(affine), len(data)))
    return derived(_Interleave(tuple(next(numbers[isinstance(d, Derived)]) for d in data)), first, *others)


def concatenate(first: Data, second: Data) -> Data:
    """Return two vectors joined."""
    if isinstance(first, Affine) and isinstance(second, Affine):
        constant = np.concatenate([first.constant, second.constant])
        return Affine(constant, sp.csr_array(sp.vstack([first.linear, second.linear])))
    return derived(_join, first, second)


def _join(first: Tensor, second: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in (first, second)], -1)


def select(data: Data, index: np.ndarray) -> Data:
    """Return entries of a vector."""
    return data[index] if isinstance(data, Affine) else derived(_Select(tuple(index.tolist())), data)


@dataclass(frozen=True)
class _Select:
    index: tuple[int, ...]

    def __call__(self, vector: Tensor) -> Tensor:
        return vector[..., list(self.index)]


def as_number(data: Data | None, absent: float) -> float:
    """Return a number; `absent` where there is no data; NaN, which compares with nothing, where it has parameters."""
    if data is None:
        return absent
    return float(data.constant) if isinstance(data, Affine) and data.is_constant else np.nan


def largest(data: Sequence[Data]) -> Data:
    """Return the entrywise maximum of data of one shape."""
    return data[0] if len(data) == 1 else derived(_maximum, *data)


def smallest(data: Sequence[Data]) -> Data:
    """Return the entrywise minimum of data of one shape."""
    return data[0] if len(data) == 1 else derived(_minimum, *data)


def _maximum(*tensors: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*tensors)).amax(0)


def _minimum(*tensors: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*tensors)).amin(0)
