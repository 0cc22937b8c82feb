"""From the user's numbers to the solver's coordinates, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.cones.common import primal
from optlayers.solvers.geometry import Geometry, row_norms
from optlayers.solvers.problem import Problem
from optlayers.solvers.structure import Structure


@dataclass(frozen=True, eq=False)
class Formulation:
    """One problem twice: `whole`, with scaled rows, which judges; and `work`, maybe without equalities, to be solved.

    Attributes
    ----------
    structure : Structure
    norms : Tensor, shape (1 or samples, m)
    geometry : Geometry or None
        Of a constant matrix.
    whole, work : Problem
        The same object where nothing is eliminated.
    origin : Tensor, shape (samples, n), or None
        The point of the equalities from which `work` counts.
    """

    structure: Structure
    norms: Tensor
    geometry: Geometry | None
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
        lower = torch.cat([lower[:, :count], lower[:, count:] / norms], -1)
        upper = torch.cat([upper[:, :count], upper[:, count:] / norms], -1)
        weight = torch.ones(structure.columns, dtype=v.dtype, device=v.device)
        weight[structure.size :] = 0.0
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
        if geometry is None or geometry.original is None:
            return Formulation(structure, norms, geometry, whole, whole, None)
        kept = _kept(structure, v.device)
        own_lower, own_upper = lower[:, kept], upper[:, kept]
        origin = None
        if geometry.basis is not None and geometry.particular is not None:
            equal = count + torch.tensor(structure.equalities, device=v.device)
            origin = lower[:, equal] @ geometry.particular.mT
            points = (points - origin) @ geometry.basis
            shift = origin @ geometry.original.mT
            own_lower, own_upper = (own_lower - shift) / geometry.lengths, (own_upper - shift) / geometry.lengths
            determined = ~torch.isfinite(geometry.lengths)
            own_lower, own_upper = (
                own_lower.masked_fill(determined, -torch.inf),
                own_upper.masked_fill(determined, torch.inf),
            )
            weight = torch.ones_like(points[0])
        work = Problem(weight, True, geometry.rows.unsqueeze(0), False, own_lower, own_upper, points, structure.cones)
        return Formulation(structure, norms, geometry, whole, work, origin)

    def restore(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and duals of `whole` from those of `work`."""
        geometry, structure = self.geometry, self.structure
        if geometry is None or geometry.original is None:
            return x, y
        count = len(structure.bounded)
        full = torch.zeros_like(self.whole.lower[:, : count + structure.matrix_rows])
        kept = _kept(structure, y.device)
        y = y / geometry.lengths
        full[:, kept] = y
        if self.origin is not None and geometry.basis is not None and geometry.particular is not None:
            x = self.restore_points(x)
            equal = count + torch.tensor(structure.equalities, device=y.device)
            full[:, equal] = (x - self.whole.v - y @ geometry.original) @ geometry.particular
        return x, _spread(full, structure, 0.0)

    def user_slacks(self, s: Tensor) -> Tensor:
        """Return slacks of `whole` as the user's rows have them: unscaled, those of bounded entries first."""
        count = len(self.structure.bounded)
        s = _gather(s, self.structure)
        return torch.cat([s[:, :count], s[:, count:] * self.norms], -1)

    def user_duals(self, y: Tensor) -> Tensor:
        """Return the duals of the user's rows from those of `whole`."""
        count = len(self.structure.bounded)
        y = _gather(y, self.structure)
        return torch.cat([y[:, :count], y[:, count:] / self.norms], -1)

    def whole_duals(self, y: Tensor) -> Tensor:
        """Undo `user_duals`."""
        count = len(self.structure.bounded)
        return _spread(torch.cat([y[:, :count], y[:, count:] * self.norms], -1), self.structure, 0.0)

    def enter(self, x: Tensor) -> Tensor:
        """Return points of `work` from those of `whole`; `restore_points` undoes it on the equalities."""
        if self.origin is None or self.geometry is None or self.geometry.basis is None:
            return x
        return (x - self.origin) @ self.geometry.basis

    def restore_points(self, x: Tensor) -> Tensor:
        """Return points of `whole` from those of `work`."""
        if self.origin is None or self.geometry is None or self.geometry.basis is None:
            return x
        return self.origin + x @ self.geometry.basis.mT

    def enter_duals(self, y: Tensor) -> Tensor:
        """Return duals of `work` from those of `whole`."""
        if self.work is self.whole or self.geometry is None or self.geometry.lengths is None:
            return y
        y = _gather(y, self.structure)[:, _kept(self.structure, y.device)]
        return torch.where(self.geometry.lengths.isfinite(), y * self.geometry.lengths, 0.0)


def _kept(structure: Structure, device: torch.device) -> Tensor:
    mask = torch.ones(structure.slacks, dtype=torch.bool)
    mask[len(structure.bounded) + torch.tensor(structure.equalities, dtype=torch.int64)] = False
    return mask.nonzero().squeeze(-1).to(device)


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
