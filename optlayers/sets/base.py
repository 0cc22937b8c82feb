"""What a closed-form set is: data, a projection, its CVXPY definition, and how to recognise it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.recognition.block import Block, Fields

REGISTRY: list[type[ClosedFormSet]] = []


_S = TypeVar("_S", bound="type[ClosedFormSet]")


def register(cls: _S) -> _S:
    """Add a set to the catalogue: from now on it is recognised, and tested by the laws."""
    REGISTRY.append(cls)
    return cls


class ClosedFormSet(ABC):
    """A convex set whose projection is computed exactly in finitely many steps.

    A subclass is a dataclass whose fields are tensors and ranges of tensors (or None, where that part is absent). All
    leading dimensions of the fields are batch dimensions, and broadcast against those of the point.

    Must be defined: `name`, `constraints`, `match`, `project`, `examples`. May be overridden: `label`,
    `infeasibility`, `relaxed`, `blame`; `kernels` and `fused`; and `is_twice_differentiable`, where second derivatives
    raise NotImplementedError (see `optlayers.autograd.first_order`).
    """

    name: ClassVar[str]
    kernels: ClassVar[str | None] = None  # the module in `optlayers.kernels.cpu` and `.gpu` with fused forms
    is_twice_differentiable: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def constraints(x: cp.Variable, *args: Any, **data: Any) -> list[cp.Constraint]:
        """Define the set in CVXPY, from data that are arrays or `cp.Parameter`s."""

    @classmethod
    @abstractmethod
    def match(cls, block: Block) -> Fields | None:
        """Return the fields if the block is such a set, else None; at most one registered set may match."""

    @abstractmethod
    def project(self, v: Tensor) -> Tensor:
        """Return ``argmin_y ||y - v||`` over the set, for points ``(*batch, n)``."""

    def fused(self, v: Tensor) -> Tensor | None:
        """Return the projection by kernels, whose arithmetic on half types is in float32; None where they do not serve.

        `project` asks here first; its plain form takes float32 and float64.
        """
        return None

    def project_(self, v: Tensor) -> bool:
        """Replace points by their projections, without derivatives.

        Returns
        -------
        bool
            False where that is no gain, and nothing was done, and where some points, which stay, are not finite.
        """
        return False

    @staticmethod
    @abstractmethod
    def examples() -> Iterable[Mapping[str, Any]]:
        """Yield keyword arguments of `constraints`; each array may become a parameter.

        `size` is the shape of the variable; a key in `fixed` (a tuple of names) never becomes a parameter.
        """

    @classmethod
    def label(cls, block: Block) -> str:
        """Name the special case that the block is, for `explain`."""
        return cls.name

    def infeasibility(self) -> Tensor | None:
        """Return by how much each condition for being non-empty fails, relative to the data: ``(*batch, checks)``.

        None says that such a set is never empty.
        """
        return None

    def relaxed(self) -> ClosedFormSet:
        """Return the set with each empty sample replaced by its least-infeasible points."""
        return self

    @classmethod
    def blame(cls, block: Block, check: int) -> set[int]:
        """Return the user's constraints that make condition number `check` of `infeasibility` fail."""
        return block.sources


def join_checks(checks: Sequence[Tensor]) -> Tensor:
    """Return conditions ``(*batch, checks)`` side by side; batch dimensions broadcast."""
    batch = torch.broadcast_shapes(*(check.shape[:-1] for check in checks))
    return torch.cat([check.expand(*batch, check.shape[-1]) for check in checks], -1)
