"""Dual variables of the user's constraints, as CVXPY defines them for the objective ``1/2 ||y - v||^2``."""

import functools
import math
from collections.abc import Sequence

import cvxpy as cp
import numpy as np
import torch
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.zero import Equality, Zero
from torch import Tensor

from optlayers.compiler.canonicalise import compile_constraints
from optlayers.cones.triangle import to_matrix
from optlayers.declaration.snapshot import Snapshot
from optlayers.parametric.maps import Values
from optlayers.projection.general_piece import GeneralPiece
from optlayers.projection.rows import conic_rows
from optlayers.solvers.status import Status

Dual = Tensor | tuple[Tensor, ...]


class DualProblem:
    """The projection before the presolve, in which every constraint has rows of its own; compiled when first needed.

    For each item of the user's list, `given` has the number of its constraint, None for comparisons of numbers.
    """

    def __init__(self, snapshot: Snapshot, given: Sequence[int | None]) -> None:
        self.snapshot, self.given = snapshot, given

    @functools.cached_property
    def _compiled(self) -> tuple[GeneralPiece, list[np.ndarray]]:
        """The piece, and which of its rows are each constraint's."""
        form, rows_of = compile_constraints(self.snapshot)
        return GeneralPiece([conic_rows(form)], self.snapshot.starts), rows_of

    @torch.no_grad()
    def solve(self, v: Tensor, values: Values, dtype: torch.dtype) -> list[Dual]:
        """Return the duals of points ``(*batch, n)``, one item per item of the user's list; NaN for unsolved samples.

        A constraint that is given again, and a comparison of numbers, have the dual zero. An item is a tensor
        ``(*batch, *shape)``, nonnegative for inequalities; for cone constraints with several arguments it is a tuple,
        as ``constraint.dual_value`` is a list.
        """
        batch = torch.broadcast_shapes(v.shape[:-1], *(t.shape[:-1] for t in values.tensors))
        if not self.snapshot.constraints:
            return [v.new_zeros(batch, dtype=dtype) for _ in self.given]
        piece, rows_of = self._compiled
        projected = piece.solve(v.unsqueeze(-2), values)
        y = (
            torch.where((projected.status == int(Status.SOLVED))[..., None, None], projected.duals, torch.nan)
            .squeeze(-2)
            .to(dtype)
        )
        duals: list[Dual] = []
        for position, number in enumerate(self.given):
            if number is None:
                duals.append(y.new_zeros(batch))
            else:
                dual = self._dual(self.snapshot.constraints[number], y[..., rows_of[number]])
                duals.append(dual if self.given.index(number) == position else _zeros_like(dual))
        return duals

    def _dual(self, constraint: cp.Constraint, y: Tensor) -> Dual:
        shapes = [tuple(variable.shape) for variable in constraint.dual_variables]
        if isinstance(constraint, PSD):
            *batch, n, _ = shapes[0]
            return to_matrix(y.reshape(*y.shape[:-1], *batch, n * (n + 1) // 2))
        if isinstance(constraint, (Equality, Zero)):
            y = -y
        sizes = [math.prod(shape) for shape in shapes]
        if y.shape[-1] != sum(sizes):
            raise NotImplementedError(
                f"CVXPY converts {constraint} to other cones, whose duals are not those it defines"
            )
        parts = [_by_columns(part, shape) for part, shape in zip(y.split(sizes, -1), shapes, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)


def _zeros_like(dual: Dual) -> Dual:
    return tuple(map(torch.zeros_like, dual)) if isinstance(dual, tuple) else torch.zeros_like(dual)


def _by_columns(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape entries in CVXPY's order, by columns."""
    reversed_axes = y.reshape((*y.shape[:-1], *reversed(shape)))
    batch = y.ndim - 1
    return reversed_axes.permute((*range(batch), *reversed(range(batch, batch + len(shape)))))
