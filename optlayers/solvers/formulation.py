"""From the user's numbers to the solver's coordinates, and back."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.solvers.conic_program import ConicProgram, largest
from optlayers.solvers.geometry import Geometry, Reduction
from optlayers.solvers.structure import Structure

_SMALLEST_UNIT = 1e-3  # of the largest bound


@dataclass(frozen=True, eq=False)
class Bounds:
    """The ranges of slacks, for each sample, or in one row for all."""

    whole_lower: Tensor  # (samples, slacks of `whole`), as `whole_upper`
    whole_upper: Tensor
    lower: Tensor  # (samples, slacks of `work`), as `upper`
    upper: Tensor
    size: Tensor  # (samples, 1): the largest finite bound of `whole`
    origin: Tensor | None = None  # (samples, n): the point of the equalities from which `work` counts

    @staticmethod
    def of(structure: Structure, geometry: Geometry, lower: Tensor, upper: Tensor) -> "Bounds":
        """Scale the user's bounds ``(samples, slacks)``, and take the equalities out."""
        count, norms, reduction = len(structure.bounded), geometry.norms, geometry.reduction
        lower, upper = _divided(lower, count, norms), _divided(upper, count, norms)
        sizes = primal(torch.cat([lower, upper], -1)).abs()
        size = largest(torch.where(sizes.isfinite(), sizes, 0.0)).unsqueeze(-1)
        whole = _spread(lower, structure, -torch.inf), _spread(upper, structure, torch.inf)
        if reduction is None:
            return Bounds(*whole, *whole, size)
        lower, upper, equal = lower[:, reduction.kept], upper[:, reduction.kept], lower[:, reduction.equal]
        if reduction.is_identity:
            return Bounds(*whole, lower, upper, size)
        origin = equal @ reduction.particular.mT
        shift = origin @ reduction.original.mT
        determined = reduction.lengths.isinf()
        lower = ((lower - shift) / reduction.lengths).masked_fill(determined, -torch.inf)
        upper = ((upper - shift) / reduction.lengths).masked_fill(determined, torch.inf)
        return Bounds(*whole, lower, upper, size, origin)

    def pack(self) -> list[Tensor]:
        """Return the bounds as a list of tensors."""
        parts = (getattr(self, field.name) for field in fields(self))
        return [part for part in parts if part is not None]

    def expand(self, samples: int) -> "Bounds":
        """Return the same for each sample, of which the rows are repeated in turn."""
        rows = self.lower.shape[0]
        if rows == samples:
            return self
        parts = [part.expand(samples // rows, *part.shape).reshape(samples, part.shape[-1]) for part in self.pack()]
        return Bounds(*parts)


@dataclass(frozen=True, eq=False)
class Formulation:
    """One program twice: `whole`, with scaled rows, which judges; and `work`, maybe without equalities, to be solved.

    Both are in units of the set, so that ``P_sK(s v) = s P_K(v)``, for powers of two to the last bit.
    """

    structure: Structure
    norms: Tensor  # (1 or samples, m)
    unit: Tensor  # (samples, 1): the smaller of the sizes of points and set, as a power of two; 1 in both programs
    reduction: Reduction | None  # between the two; None where they are one object
    whole: ConicProgram
    work: ConicProgram
    origin: Tensor | None  # (samples, n), see `Bounds`

    @staticmethod
    def of(structure: Structure, geometry: Geometry, bounds: Bounds, v: Tensor) -> "Formulation":
        """Formulate a batch of points ``(samples, size)``; the matrix may be one for all, ``(m, n)``."""
        rows, norms, reduction = geometry.rows, geometry.norms, geometry.reduction
        rows, norms = (rows.unsqueeze(0), norms.unsqueeze(0)) if rows.ndim == 2 else (rows, norms)
        bounds = bounds.expand(v.shape[0])
        unit = _unit(bounds.size, largest(primal(v)).unsqueeze(-1))
        bounds = Bounds(*(part / unit for part in bounds.pack()))
        weight, points = v.new_ones(v.shape[-1]), v / unit
        if structure.auxiliary:
            weight = torch.cat([weight, weight.new_zeros(structure.auxiliary)])
            points = torch.cat([points, v.new_zeros(v.shape[0], structure.auxiliary)], -1)
        is_strong, box = structure.auxiliary == 0, len(structure.bounded) > 0
        limits = bounds.whole_lower, bounds.whole_upper
        whole = work = ConicProgram(weight, is_strong, rows, box, *limits, points, structure.cones)
        if reduction is not None:
            if bounds.origin is not None:
                points = (points - bounds.origin) @ reduction.basis
                weight = weight[: points.shape[-1]]
            gram = reduction.gram if len(reduction.gram) else None
            rows, limits = reduction.rows.unsqueeze(0), (bounds.lower, bounds.upper)
            work = ConicProgram(weight, True, rows, False, *limits, points, structure.cones, gram)
        return Formulation(structure, norms, unit, reduction, whole, work, bounds.origin)

    def shifted(self, index: Tensor, r: Tensor) -> "Formulation":
        """Return some samples, with the slacks of `whole` shifted by `r`, and no other program to be solved."""
        whole = self.whole.select(index)
        whole = replace(whole, lower=whole.lower - r, upper=whole.upper - r)
        return Formulation(self.structure, self.norms, self.unit[index], None, whole, whole, None)

    def restore(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and duals of `whole` from those of `work`."""
        reduction, structure = self.reduction, self.structure
        if reduction is None:
            return x, y
        x, y = self._restore_points(x), y / reduction.lengths
        full = y.new_zeros(y.shape[0], structure.slacks)
        full[:, reduction.kept] = y
        if not reduction.is_identity:
            full[:, reduction.equal] = (x - self.whole.v - y @ reduction.original) @ reduction.particular
        return x, _spread(full, structure, 0.0)

    def violation(self, x: Tensor) -> Tensor:
        """Return the largest entry by which the slacks of points of `whole` leave their range, in the user's units."""
        s = self.whole.apply(x)
        return largest(self.user_slacks(s - self.whole.nearest_slack(s)))

    def user_slacks(self, s: Tensor) -> Tensor:
        """Return slacks of `whole` as the user's rows have them: unscaled, those of bounded entries first."""
        return self.unit * _scaled(_gather(s, self.structure), len(self.structure.bounded), self.norms)

    def user_duals(self, y: Tensor) -> Tensor:
        """Return the duals of the user's rows from those of `whole`."""
        return self.unit * _scaled(_gather(y, self.structure), len(self.structure.bounded), 1 / self.norms)

    def user_points(self, x: Tensor) -> Tensor:
        """Return the user's points from those of `work`."""
        return self.unit * self._restore_points(x)

    def enter(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and duals of `work` from the user's."""
        reduction, structure = self.reduction, self.structure
        x = x / self.unit
        y = _scaled(y, len(structure.bounded), self.norms) / self.unit
        if reduction is None:
            return x, _spread(y, structure, 0.0)
        y = torch.where(reduction.lengths.isfinite(), y[:, reduction.kept] * reduction.lengths, 0.0)
        return x if self.origin is None else (x - self.origin) @ reduction.basis, y

    def enter_directions(self, change: Tensor) -> Tensor:
        """Return changes of points of `work` from those of `whole`."""
        return change if self.origin is None or self.reduction is None else change @ self.reduction.basis

    def restore_directions(self, change: Tensor) -> Tensor:
        """Return changes of points of `whole` from those of `work`."""
        return change if self.origin is None or self.reduction is None else change @ self.reduction.basis.mT

    def _restore_points(self, x: Tensor) -> Tensor:
        """Return points of `whole` from those of `work`."""
        if self.origin is None or self.reduction is None:
            return x
        return self.origin + x @ self.reduction.basis.mT


def _unit(bounds: Tensor, points: Tensor) -> Tensor:
    """Return the smaller of the two sizes, neither zero nor far below the bounds, as a power of two."""
    size = torch.where(bounds > 0, torch.minimum(bounds, torch.maximum(points, _SMALLEST_UNIT * bounds)), points)
    return torch.where(size > 0, size, 1.0).log2().floor().exp2()


def _divided(bounds: Tensor, bounded: int, norms: Tensor) -> Tensor:
    """Divide the bounds of the matrix's rows; infinite ones, whose derivatives would be NaN, stay."""
    finite = bounds.isfinite()
    return torch.where(finite, _scaled(torch.where(finite, bounds, 0.0), bounded, 1 / norms), bounds)


def _scaled(slacks: Tensor, bounded: int, factor: Tensor) -> Tensor:
    """Multiply the slacks of the matrix's rows, which come after those of bounded entries."""
    if bounded == 0:
        return slacks * factor
    return torch.cat([slacks[:, :bounded], slacks[:, bounded:] * factor], -1)


def _spread(slacks: Tensor, structure: Structure, fill: float) -> Tensor:
    """Give entries without bound a slack too, where any entry has one."""
    count = len(structure.bounded)
    if count == 0 or count == structure.columns:
        return slacks
    spread = slacks.new_full((slacks.shape[0], structure.columns), fill)
    spread[:, list(structure.bounded)] = slacks[:, :count]
    return torch.cat([spread, slacks[:, count:]], -1)


def _gather(slacks: Tensor, structure: Structure) -> Tensor:
    """Undo `_spread`."""
    count = len(structure.bounded)
    if count == 0 or count == structure.columns:
        return slacks
    return torch.cat([slacks[:, list(structure.bounded)], slacks[:, structure.columns :]], -1)
