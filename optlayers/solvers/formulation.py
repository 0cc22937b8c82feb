"""From the user's numbers to the solver's coordinates, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.cones.common import primal
from optlayers.solvers.geometry import Geometry, Reduction, row_norms
from optlayers.solvers.problem import Problem, largest
from optlayers.solvers.structure import Structure


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
        The point of the equalities from which `work` counts.
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
        lower, upper : Tensor, shape (samples, slacks)
        v : Tensor, shape (samples, size)
        """
        norms = row_norms(primal(matrix), structure) if geometry is None else geometry.norms.unsqueeze(0)
        count = len(structure.bounded)
        lower, upper = _scaled(lower, count, 1 / norms), _scaled(upper, count, 1 / norms)
        weight, points = v.new_ones(v.shape[-1]), v
        if structure.auxiliary:
            weight = torch.cat([weight, weight.new_zeros(structure.auxiliary)])
            points = torch.cat([v, v.new_zeros(v.shape[0], structure.auxiliary)], -1)
        whole = Problem(
            weight,
            structure.auxiliary == 0,
            matrix / norms.unsqueeze(-1),
            count > 0,
            _spread(lower, structure, -torch.inf),
            _spread(upper, structure, torch.inf),
            points,
            structure.cones,
        )
        reduction = None if geometry is None else geometry.reduction
        if reduction is None:
            return Formulation(structure, norms, None, whole, whole, None)
        own_lower, own_upper = lower[:, reduction.kept], upper[:, reduction.kept]
        origin = None
        if not reduction.is_identity:
            origin = lower[:, reduction.equal] @ reduction.particular.mT
            points = (points - origin) @ reduction.basis
            shift = origin @ reduction.original.mT
            own_lower, own_upper = (own_lower - shift) / reduction.lengths, (own_upper - shift) / reduction.lengths
            determined = reduction.lengths.isinf()
            own_lower = own_lower.masked_fill(determined, -torch.inf)
            own_upper = own_upper.masked_fill(determined, torch.inf)
            weight = points.new_ones(points.shape[-1])
        rows = reduction.rows.unsqueeze(0)
        gram = reduction.gram if len(reduction.gram) else None
        work = Problem(weight, True, rows, False, own_lower, own_upper, points, structure.cones, gram)
        return Formulation(structure, norms, reduction, whole, work, origin)

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

    def enter_duals(self, y: Tensor) -> Tensor:
        """Return duals of `work` from those of `whole`."""
        if self.reduction is None:
            return y
        y = _gather(y, self.structure)[:, self.reduction.kept]
        return torch.where(self.reduction.lengths.isfinite(), y * self.reduction.lengths, 0.0)


def _scaled(slacks: Tensor, bounded: int, factor: Tensor) -> Tensor:
    """Multiply the slacks of the matrix's rows, which come after those of bounded entries."""
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
