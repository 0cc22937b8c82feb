"""The directions along which the active slacks of a polyhedron stay where they are."""

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import is_traced
from optlayers.solvers.active_rows import ActiveRows
from optlayers.solvers.conic_program import ConicProgram
from optlayers.solvers.normal_equations import back_substitute, factorise, is_well_conditioned

_PROXIMAL = 1e-13
_REFINEMENTS = 3
_AT_BOUND = 1e-10  # relative; slacks this near to a bound count as active, whatever their dual is


def active_sides(program: ConicProgram, x: Tensor, y: Tensor, usable: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return which slacks of a solution are at their lower and at their upper bound, ``(samples, slacks)``."""
    s = primal(program.apply(x))
    lower, upper = primal(program.lower), primal(program.upper)
    near, z = _AT_BOUND * primal(program.scale).unsqueeze(-1), s - y
    at_lower, at_upper = (z <= lower) | (s <= lower + near), (z >= upper) | (s >= upper - near)
    return (at_lower, at_upper) if usable is None else (at_lower & usable, at_upper & usable)


class ActiveSpace:
    """The linear equations of active slacks, packed and factored; `rows` is None where the program has none."""

    def __init__(self, program: ConicProgram, active: Tensor) -> None:
        self.program = program
        self._free: Tensor | None = None
        if program.box:
            n = program.v.shape[-1]
            self._free, active = 1.0 - active[:, :n].to(program.v.dtype), active[:, n:]
        self.rows: ActiveRows | None = None
        if active.shape[-1]:
            self.rows = ActiveRows(active, active.shape[-1] if is_traced() else None)
            if self.rows.most == 0:
                self.rows = ActiveRows(active, 1)  # one place keeps the graph to the rows' data
            self._factor = factorise(self.rows.gram(program, _PROXIMAL, self._free))
            self._refined = is_traced() or not is_well_conditioned(self._factor)

    def of_active(self, y: Tensor) -> Tensor:
        """Return duals of rows, ``(samples, m)``, zero where they are not active."""
        return y if self.rows is None else self.rows.put(self.rows.take(y))

    def inside(self, change: Tensor) -> Tensor:
        """Return a change of points ``(samples, n)`` without that of entries held at a bound."""
        return change if self._free is None else self._free * change

    def lift(self, right: Tensor) -> Tensor:
        """Return the least change of free entries that changes active slacks of rows by `right`, ``(samples, m)``."""
        if self.rows is None:
            return torch.zeros_like(self.program.v)
        right = self.rows.take(right)
        dual = back_substitute(self._factor, right)
        for _ in range(_REFINEMENTS if self._refined else 0):
            dual = dual + back_substitute(self._factor, right - self.rows.take(self.program.times(self._spread(dual))))
        return self._spread(dual)

    def tangent(self, change: Tensor) -> Tensor:
        """Project a change of points onto those that change no active slack: the derivative of the projection."""
        change = self.inside(change)
        return change if self.rows is None else change - self.lift(self.program.times(change))

    def _spread(self, dual: Tensor) -> Tensor:
        assert self.rows is not None
        return self.inside(self.program.transposed_times(self.rows.put(dual)))
