"""Sets of symmetric matrices given by their eigenvalues: semidefinite cones, spectraplexes, eigenvalue bounds."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np
from torch import Tensor

from optlayers.parametric.range import Range
from optlayers.parametric.symbolic import Data, largest, smallest
from optlayers.recognition.block import Block, BlockCone, Fields, Row
from optlayers.recognition.matrix_cones import EigenvalueBound, eigenvalue_bounds, is_zero, read_rows
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.search.spectral_functions import project_eigenvalues


@register
@dataclass(frozen=True, eq=False)
class SpectralSet(ClosedFormSet):
    """Symmetric matrices ``Y`` such that the eigenvalues of ``Y - center`` lie in a section of a box.

    It is ``lower <= lambda_i(Y - center) <= upper`` for all `i`, and ``trace(Y - center)`` in `total`.
    The nearest such matrix keeps the eigenvectors of ``V - center`` and projects the eigenvalues (Lewis, "The convex
    analysis of unitarily invariant matrix functions", 1995).

    Attributes
    ----------
    center : Tensor, shape (*batch, n, n)
        Symmetric.
    lower, upper : Tensor, shape (*batch,), or None
        At least one.
    total : Range of Tensor, shape (*batch,), or None
        Of the trace of ``Y - center``; None where it is not bounded.
    """

    name = "spectral set"
    is_symmetric: ClassVar[bool] = True
    center: Tensor
    lower: Tensor | None
    upper: Tensor | None
    total: Range[Tensor] | None

    @staticmethod
    def constraints(x: cp.Variable, **data: Any) -> list[cp.Constraint]:
        return [x == x.T, *eigenvalue_constraints(x, **data)]

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        reading = _read(block, symmetric=cls.is_symmetric)
        if reading is None:
            return None
        center, flat = reading.bounds[0].center, reading.bounds[0].center.reshaped(block.size)
        trace = flat.mapped(np.eye(center.shape[0]).reshape(1, -1)).reshaped()
        lower = [bound.level for bound in reading.bounds if bound.is_lower]
        upper = [bound.level for bound in reading.bounds if not bound.is_lower]
        return {
            "center": center,
            "lower": largest(lower) if lower else None,
            "upper": smallest(upper) if upper else None,
            "total": None if reading.trace is None else reading.trace.range.map(lambda bound: bound - trace),
        }

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block) or {}
        lower, upper, center = (_numbers(fields[key]) for key in ("lower", "upper", "center"))
        total = fields["total"]
        is_cone = total is None and not np.any(center)
        if is_cone and fields["upper"] is None and np.all(lower == 0):
            return "PSD cone"
        if is_cone and fields["lower"] is None and np.all(upper == 0):
            return "NSD cone"
        if not isinstance(total, Range):
            return "eigenvalue bounds"
        if total.is_fixed and np.all(lower == 0):
            return "spectraplex" if fields["upper"] is None else "capped spectraplex"
        return cls.name

    def project(self, v: Tensor) -> Tensor:
        """Project the eigenvalues; one exactly at a bound takes the derivative of the bound."""
        matrix = v.unflatten(-1, self.center.shape[-2:])
        return (self.center + self.project_symmetric(matrix / 2 + matrix.mT / 2 - self.center)).flatten(-2)

    def project_symmetric(self, symmetric: Tensor) -> Tensor:
        """Project symmetric matrices ``(*batch, n, n)`` onto the set around zero."""
        totals = () if self.total is None else self.total.bounds
        return project_eigenvalues(symmetric, self._section, *self._bounds, *totals)

    @property
    def _bounds(self) -> tuple[Tensor | None, Tensor | None]:
        entries = Range(self.lower, self.upper).map(
            lambda bound: bound.unsqueeze(-1).expand(*bound.shape, self.center.shape[-1])
        )
        return entries.lower, entries.upper

    def _section(self, lower: Tensor | None, upper: Tensor | None, *totals: Tensor) -> Box | BoxSection:
        if self.total is None:
            return Box(lower, upper)
        return BoxSection(None, lower, upper, self.total.with_bounds(totals) if totals else self.total)

    def section(self) -> Box | BoxSection:
        """Return the set of eigenvalues."""
        return self._section(*self._bounds)

    def checks(self) -> list[Check]:
        """Check of the eigenvalues what `BoxSection` checks; without bounds on the trace, that theirs do not cross."""
        section = self.section()
        crossing = Box(section.lower, section.upper).checks()
        checks = [Check.one(check.amount.amax(-1), lambda block: block.cone_sources) for check in crossing]
        if isinstance(section, BoxSection):
            crossed = section.total.crossing()
            checks += [] if crossed is None else [Check.one(crossed, Block.row_sources)]
            sources = partial(_reach_sources, self.is_symmetric)
            checks += [Check.one(amount, partial(sources, side)) for side, amount in section.misses()]
        return checks

    def relaxed(self) -> "SpectralSet":
        """Relax the set of eigenvalues: violations in the Frobenius norm are those of the eigenvalues."""
        section = self.section().relaxed()
        lower, upper = (None if bound is None else bound[..., 0] for bound in (section.lower, section.upper))
        total = section.total if isinstance(section, BoxSection) else None
        return dataclasses.replace(self, lower=lower, upper=upper, total=total)

    @staticmethod
    def examples() -> Examples:
        zero, one = np.array(0.0), np.array(1.0)
        center = np.array([[0.5, 1.0, 0.0], [1.0, -1.0, 0.3], [0.0, 0.3, 0.2]])
        yield {"size": (3, 3), "lower": zero}
        yield {"size": (2, 2), "upper": np.array(-0.3), "center": center[:2, :2]}
        yield {"size": (3, 3), "lower": zero, "total": one}
        yield {"size": (3, 3), "lower": zero, "upper": np.array(0.6), "total_upper": one}
        yield {"size": (3, 3), "lower": -one, "upper": one, "center": center, "total": np.array(0.5)}
        yield {"size": (3, 3), "upper": one, "total_lower": -one, "total_upper": np.array(0.5)}


def eigenvalue_constraints(
    x: cp.Variable,
    center: Any = 0,
    lower: Any = None,
    upper: Any = None,
    total: Any = None,
    total_lower: Any = None,
    total_upper: Any = None,
) -> list[cp.Constraint]:
    """Bound the eigenvalues of the symmetric part of ``x - center``, and its trace."""
    identity, trace = np.eye(x.shape[0]), cp.trace(x - center)
    result = [x - center >> lower * identity] if lower is not None else []
    result += [x - center << upper * identity] if upper is not None else []
    return result + between(trace, total_lower, total_upper, total)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What each cone of a block says of eigenvalues, and the row on the trace."""

    by_cone: list[tuple[BlockCone, list[EigenvalueBound]]]
    trace: Row | None

    @property
    def bounds(self) -> list[EigenvalueBound]:
        return [bound for _, bounds in self.by_cone for bound in bounds]


def _read(block: Block, *, symmetric: bool) -> _Reading | None:
    """Return what a block says if it is such a set."""
    if not block.cones or block.has_bounds or block.auxiliary or round(block.size**0.5) ** 2 != block.size:
        return None
    by_cone = [(cone, eigenvalue_bounds(cone, block.size, symmetric)) for cone in block.cones]
    if not all(bounds for _, bounds in by_cone):
        return None
    rows = read_rows(block)
    if rows is None or rows[0] is not symmetric:
        return None
    reading = _Reading(by_cone, rows[1])
    first = reading.bounds[0]
    data = [part for bound in reading.bounds for part in (bound.center, bound.level)]
    same = (is_zero(first.center - bound.center, *data) for bound in reading.bounds[1:])
    return reading if all(same) else None


def _reach_sources(symmetric: bool, side: float, block: Block) -> set[int]:
    """Return the user's constraints that keep the trace from its bound on a side."""
    reading = _read(block, symmetric=symmetric)
    assert reading is not None
    assert reading.trace is not None
    cones = [cone for cone, bounds in reading.by_cone if any(bound.is_lower is (side < 0) for bound in bounds)]
    return reading.trace.sources_at(side).union(*(cone.sources for cone in cones))


def _numbers(data: object) -> np.ndarray:
    """Return the numbers that data are; ones where there are parameters, or no data."""
    return data.numbers if isinstance(data, Data) and data.numbers is not None else np.ones(1)
