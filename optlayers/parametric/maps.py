"""The torch side of a set's data: differentiable maps from parameter values to tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from optlayers.parametric.constants import Constant


@dataclass(frozen=True)
class Values:
    """Parameter values of one call: one tensor ``(*batch, size)`` per parameter, all of one dtype and device.

    The `precision` is the relative rounding of the least precise data, points included; 0 for double precision.
    """

    tensors: tuple[Tensor, ...]
    dtype: torch.dtype
    device: torch.device
    precision: float = 0.0

    def detached(self) -> "Values":
        """Return the values without derivatives."""
        return replace(self, tensors=tuple(t.detach() for t in self.tensors))


NO_VALUES = Values((), torch.float64, torch.device("cpu"))


class Term:
    """The part of an affine map that depends on one parameter: a gather, a product, a scatter-add."""

    def __init__(
        self, parameter: int, rows: np.ndarray, columns: np.ndarray, coefficients: np.ndarray, size: int
    ) -> None:
        self.parameter = parameter
        self.size = size
        self.rows = None if np.array_equal(rows, np.arange(size)) else Constant(rows)
        self.columns = Constant(columns)
        self.coefficients = None if np.all(coefficients == 1) else Constant(coefficients)

    def __call__(self, values: Values) -> Tensor:
        result = values.tensors[self.parameter][..., self.columns.on(values.device)]
        if self.coefficients is not None:
            result = result * self.coefficients.on(values.device, values.dtype)
        if self.rows is not None:
            zeros = result.new_zeros((*result.shape[:-1], self.size))
            result = zeros.index_add(-1, self.rows.on(values.device), result)
        return result


class AffineMap:
    """``p -> constant + linear @ p``; what does not depend on `p` is a cached constant."""

    def __init__(self, constant: np.ndarray, terms: list[Term]) -> None:
        self.shape = constant.shape
        self.constant = Constant(constant.ravel())
        self.terms = terms
        self.is_linear = bool(terms) and not constant.any()

    def __call__(self, values: Values) -> Tensor:
        terms = [term(values) for term in self.terms]
        if not self.is_linear:
            terms.append(self.constant.on(values.device, values.dtype))
        result = sum(terms[1:], terms[0])
        return result.reshape((*result.shape[:-1], *self.shape))


class DerivedMap:
    """A torch function of other maps."""

    def __init__(self, function: Callable[..., Tensor], arguments: "list[Map]") -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self, values: Values) -> Tensor:
        return self.function(*(argument(values) for argument in self.arguments))


Map = AffineMap | DerivedMap
