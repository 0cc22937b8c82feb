"""From the user's numbers to the solver's coordinates, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.solvers.geometry import Geometry, Reduction, row_norms
from optlayers.solvers.problem import Problem, largest
from optlayers.solvers.structure import Structure


@dataclass(frozen=True, eq=False)
class Bounds:
    """The ranges of slacks, for each sample, or in one row for all.

    Attributes
    ----------
    whole_lower, whole_upper : Tensor, shape (samples, slacks of `whole`)
    lower, upper : Tensor, shape (samples, slacks of `work`)
    origin : Tensor, shape (samples, n), or None
        The point of the equalities from which `work` counts.
    """

    whole_lower: Tensor
    whole_upper: Tensor
    lower: Tensor
    upper: Tensor
    origin: Tensor | None

    @staticmethod
    def of(structure: Structure, geometry: Geometry | None, norms: Tensor, lower: Tensor, upper: Tensor) -> Bounds:
        """Scale the user's bounds ``(samples, slacks)``, and take the equalities out."""
        count = len(structure.bounded)
        lower, upper = _scaled(lower, count, 1 / norms), _scaled(upper, count, 1 / norms)
        whole = _spread(lower, structure, -torch.inf), _spread(upper, structure, torch.inf)
        reduction = None if geometry is None else geometry.reduction
        if reduction is None:
            return Bounds(*whole, *whole, None)
        own_lower, own_upper = lower[:, reduction.kept], upper[:, reduction.kept]
        if reduction.is_identity:
            return Bounds(*whole, own_lower, own_upper, None)
        origin = lower[:, reduction.equal] @ reduction.particular.mT
        shift = origin @ reduction.original.mT
        determined = reduction.lengths.isinf()
        own_lower = ((own_lower - shift) / reduction.lengths).masked_fill(determined, -torch.inf)
        own_upper = ((own_upper - shift) / reduction.lengths).masked_fill(determined, torch.inf)
        return Bounds(*whole, own_lower, own_upper, origin)

    def pack(self) -> list[Tensor]:
        """Return the bounds as a list of tensors."""
        parts = (getattr(self, field.name) for field in fields(self))
        return [part for part in parts if part is not None]

    @staticmethod
    def unpack(parts: Sequence[Tensor]) -> Bounds:
        """Undo `pack`."""
        whole_lower, whole_upper, lower, upper, *origin = parts
        return Bounds(whole_lower, whole_upper, lower, upper, origin[0] if origin else None)

    def expand(self, samples: int) -> Bounds:
        """Return the same for each sample, of which the rows are repeated in turn."""
        own = self.lower.shape[0]
        if own == samples:
            return self
        repeated = [part.expand(samples // own, *part.shape).reshape(samples, part.shape[-1]) for part in self.pack()]
        return Bounds.unpack(repeated)


@dataclass(frozen=True, eq=False)
class Formulation:
    """One problem twice: `whole`, with scaled rows, which judges; and `work`, maybe without equalities, to be solved.

    Attributes
    ----------
    structure : Structure
    norms : Tensor, shape (1 or samples, m)
    reduction : Reduction or None
        Between the two; None where they are one object.
    whole, work : Problem
    origin : Tensor, shape (samples, n), or None
        See `Bounds`.
    """

    structure: Structure
    norms: Tensor
    reduction: Reduction | None
    whole: Problem
    work: Problem
    origin: Tensor | None

    @staticmethod
    def of(
        structure: Structure, geometry: Geometry | None, matrix: Tensor, lower: Tensor, upper: Tensor, v: Tensor
    ) -> Formulation:
        """Formulate a batch.

        Parameters
        ----------
        matrix : Tensor, shape (1 or samples, m, n)
            Not used with a geometry.
        lower, upper : Tensor, shape (samples, slacks)
        v : Tensor, shape (samples, size)
        """
        if geometry is not None:
            return Formulation.at(structure, geometry, Bounds.of(structure, geometry, geometry.norms, lower, upper), v)
        norms = row_norms(primal(matrix), structure)
        bounds = Bounds.of(structure, None, norms, lower, upper)
        return Formulation._of(structure, norms, matrix / norms.unsqueeze(-1), None, bounds, v)

    @staticmethod
    def at(structure: Structure, geometry: Geometry, bounds: Bounds, v: Tensor) -> Formulation:
        """Formulate a batch of points ``(samples, size)`` for a constant matrix."""
        rows, norms = geometry.rows.unsqueeze(0), geometry.norms.unsqueeze(0)
        return Formulation._of(structure, norms, rows, geometry.reduction, bounds.expand(v.shape[0]), v)

    @staticmethod
    def _of(
        structure: Structure, norms: Tensor, rows: Tensor, reduction: Reduction | None, bounds: Bounds, v: Tensor
    ) -> Formulation:
        weight, points = v.new_ones(v.shape[-1]), v
        if structure.auxiliary:
            weight = torch.cat([weight, weight.new_zeros(structure.auxiliary)])
            points = torch.cat([v, v.new_zeros(v.shape[0], structure.auxiliary)], -1)
        whole = Problem(
            weight,
            structure.auxiliary == 0,
            rows,
            len(structure.bounded) > 0,
            bounds.whole_lower,
            bounds.whole_upper,
            points,
            structure.cones,
        )
        if reduction is None:
            return Formulation(structure, norms, None, whole, whole, None)
        if bounds.origin is not None:
            points = (points - bounds.origin) @ reduction.basis
            weight = weight[: points.shape[-1]]
        gram = reduction.gram if len(reduction.gram) else None
        rows = reduction.rows.unsqueeze(0)
        work = Problem(weight, True, rows, False, bounds.lower, bounds.upper, points, structure.cones, gram)
        return Formulation(structure, norms, reduction, whole, work, bounds.origin)

    def restore(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and duals of `whole` from those of `work`."""
        reduction, structure = self.reduction, self.structure
        if reduction is None:
            return x, y
        x, y = self.restore_points(x), y / reduction.lengths
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
        return _scaled(_gather(s, self.structure), len(self.structure.bounded), self.norms)

    def user_duals(self, y: Tensor) -> Tensor:
        """Return the duals of the user's rows from those of `whole`."""
        return _scaled(_gather(y, self.structure), len(self.structure.bounded), 1 / self.norms)

    def whole_duals(self, y: Tensor) -> Tensor:
        """Undo `user_duals`."""
        return _spread(_scaled(y, len(self.structure.bounded), self.norms), self.structure, 0.0)

    def enter(self, x: Tensor) -> Tensor:
        """Return points of `work` from those of `whole`; `restore_points` undoes it on the equalities."""
        if self.origin is None or self.reduction is None:
            return x
        return (x - self.origin) @ self.reduction.basis

    def restore_points(self, x: Tensor) -> Tensor:
        """Return points of `whole` from those of `work`."""
        if self.origin is None or self.reduction is None:
            return x
        return self.origin + x @ self.reduction.basis.mT

    def enter_directions(self, change: Tensor) -> Tensor:
        """Return changes of points of `work` from those of `whole`."""
        return change if self.origin is None or self.reduction is None else change @ self.reduction.basis

    def restore_directions(self, change: Tensor) -> Tensor:
        """Return changes of points of `whole` from those of `work`."""
        return change if self.origin is None or self.reduction is None else change @ self.reduction.basis.mT

    def enter_duals(self, y: Tensor) -> Tensor:
        """Return duals of `work` from those of `whole`."""
        if self.reduction is None:
            return y
        y = _gather(y, self.structure)[:, self.reduction.kept]
        return torch.where(self.reduction.lengths.isfinite(), y * self.reduction.lengths, 0.0)


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
    own = slacks.new_full((slacks.shape[0], structure.columns), fill)
    own[:, list(structure.bounded)] = slacks[:, :count]
    return torch.cat([own, slacks[:, count:]], -1)


def _gather(slacks: Tensor, structure: Structure) -> Tensor:
    """Undo `_spread`."""
    count = len(structure.bounded)
    if count == 0 or count == structure.columns:
        return slacks
    return torch.cat([slacks[:, list(structure.bounded)], slacks[:, structure.columns :]], -1)
