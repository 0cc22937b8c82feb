"""The choice of a solver for a batch: the compiled core where it serves, and the solvers in torch for what is left."""

from collections.abc import Sequence

import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.solvers import core
from optlayers.solvers.constants import unpack_constants
from optlayers.solvers.core import Samples
from optlayers.solvers.formulation import Bounds, Formulation
from optlayers.solvers.geometry import Geometry, row_norms
from optlayers.solvers.nearest import Nearest, accuracy_of, nearest
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.status import Status


def nearest_of_samples(
    samples: Samples,
    constants: Sequence[Tensor],
    start: Tensor | None,
    *,
    relax: bool,
    precision: float,
    bounds: Bounds | None = None,
) -> Nearest:
    """Return `nearest` of samples.

    Parameters
    ----------
    constants : sequence of Tensor
        `pack_constants` of a constant matrix, or empty.
    start, relax, precision
        As for `nearest`.
    bounds : Bounds, optional
        What is known of constant bounds.
    """
    if not core.serves(samples):
        return _by_torch(samples, constants, start, bounds, relax=relax, precision=precision)
    x, y, error, violation, steps = core.project(samples, start)
    shift, status = torch.zeros_like(y), torch.zeros_like(steps)
    index = (error > accuracy_of(samples.structure, precision)).nonzero().squeeze(-1)
    if len(index):
        started = None if start is None else start[index]
        others = _by_torch(samples.select(index), constants, started, None, relax=relax, precision=precision)
        x[index], y[index], shift[index] = others.x, others.y, others.shift
        error[index], violation[index] = others.error, others.violation
        status[index], steps[index] = others.status, others.steps
        _judge(samples, index[others.status == int(Status.SOLVED)], x, y, error, status, precision)
    return Nearest(x, y, violation, error, status, steps, shift, by_core=not len(index))


def _judge(
    samples: Samples, index: Tensor, x: Tensor, y: Tensor, error: Tensor, status: Tensor, precision: float
) -> None:
    """Let the core, which balances the units of a set, judge and improve answers of the solvers in torch."""
    if len(index):
        part = samples.select(index)
        x[index], y[index], error[index], *_ = core.project(part, torch.cat([y[index], x[index]], -1))
        solved = error[index] <= accuracy_of(samples.structure, precision)
        status[index] = torch.where(solved, int(Status.SOLVED), int(Status.UNSOLVED))


def formulate(samples: Samples, geometry: Geometry | None, bounds: Bounds | None = None) -> Formulation:
    """Formulate samples, with derivatives, from what is known of constant data."""
    if geometry is None:
        geometry = Geometry.unreduced(samples.matrix, row_norms(primal(samples.matrix), samples.structure))
    if bounds is None:
        bounds = Bounds.of(samples.structure, geometry, samples.lower, samples.upper)
    return Formulation.of(samples.structure, geometry, bounds, samples.v)


def _by_torch(
    samples: Samples,
    constants: Sequence[Tensor],
    start: Tensor | None,
    bounds: Bounds | None,
    *,
    relax: bool,
    precision: float,
) -> Nearest:
    structure, matrix = samples.structure, samples.matrix
    geometry, splitting = unpack_constants(constants)
    if geometry is None and len(matrix) == 1 and len(samples.v) > 1:  # one for all samples, though not a constant
        geometry = Geometry.of(matrix[0], structure)
        splitting = SplittingMap.of(geometry, structure)
    formulation = formulate(samples, geometry, bounds)
    return nearest(formulation, splitting, start, relax=relax, precision=precision)
