"""What a closed-form set is: data, a projection, its CVXPY definition, and how to recognise it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import cvxpy as cp
from torch import Tensor

from optlayers.recognition.block import Block, Fields

Examples = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Check:
    """Conditions for a set not to be empty, and the user's constraints at fault where they fail.

    Attributes
    ----------
    amount : Tensor, shape (*batch, k)
        By how much each of `k` conditions fails, relative to the data.
    sources : callable
        From a block to the constraints at fault for each condition, `k` sets.
    is_joint : bool
        Whether the conditions that fail do so together, all by the fault of all their constraints.
    """

    amount: Tensor
    sources: Callable[[Block], Sequence[set[int]]]
    is_joint: bool = False

    @staticmethod
    def one(amount: Tensor, sources: Callable[[Block], set[int]] = lambda block: block.sources) -> "Check":
        """Return the check of one condition, ``(*batch,)``; all constraints of the block are at fault by default."""
        return Check(amount.unsqueeze(-1), lambda block: [sources(block)])

    def conflicts(self, failed: Tensor, sources: Sequence[set[int]]) -> Iterable[tuple[set[int], Tensor]]:
        """Yield constraints at fault and the samples, ``(*batch,)``, for conditions that fail in one block."""
        if self.is_joint:
            patterns = failed.reshape(-1, failed.shape[-1]).unique(dim=0)
            for pattern in patterns[patterns.any(-1)][:_MOST_CONFLICTS]:
                members = pattern.nonzero().flatten().tolist()
                yield set().union(*(sources[k] for k in members)), (failed == pattern).all(-1)
        else:
            failing = failed.reshape(-1, failed.shape[-1]).any(0).nonzero().flatten()
            for k in failing[:_MOST_CONFLICTS].tolist():
                yield sources[k], failed[..., k]


_MOST_CONFLICTS = 100  # of one check and block, for a message
REGISTRY: "list[type[ClosedFormSet]]" = []


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
    `checks`, `relaxed`; `bounds_entries` and `without_infinities`; `kernels` and `fused`; and
    `is_twice_differentiable`, where second derivatives raise NotImplementedError, see `optlayers.autograd.first_order`.
    """

    name: ClassVar[str]
    kernels: ClassVar[str | None] = None  # the module in `optlayers.kernels.cpu` and `.gpu` with fused forms
    is_twice_differentiable: ClassVar[bool] = True
    clamps: ClassVar[bool] = False  # whether the projection only clamps entries, so that no number overflows
    bounds_entries: ClassVar[bool] = False  # whether points may have infinite entries, see `without_infinities`

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

    def without_infinities(self, v: Tensor) -> Tensor:
        """Replace infinite entries by finite ones with the same nearest point, where that has a limit.

        The limit is that of entries that go to infinity one by one, in any order; derivatives in them are zero.
        """
        return v

    @staticmethod
    @abstractmethod
    def examples() -> Examples:
        """Yield keyword arguments of `constraints`; each array may become a parameter.

        `size` is the shape of the variable; a key in `fixed` (a tuple of names) never becomes a parameter.
        """

    @classmethod
    def label(cls, block: Block) -> str:
        """Name the special case that the block is, for `explain`."""
        return cls.name

    def checks(self) -> list[Check]:
        """Return what must hold for the set not to be empty; nothing where it never is."""
        return []

    def relaxed(self) -> "ClosedFormSet":
        """Return the set with each empty sample replaced by its least-infeasible points."""
        return self


def between(x: Any, lower: Any = None, upper: Any = None, value: Any = None) -> list[cp.Constraint]:
    """Bound an expression in CVXPY, or fix it, by what is not None."""
    result = [] if value is None else [x == value]
    result += [] if lower is None else [x >= lower]
    return result + ([] if upper is None else [x <= upper])
