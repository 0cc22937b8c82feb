"""General blocks of one structure: the piece of a set that runs on the general solver."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from optlayers.autograd.follow import follow
from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import has_tangent, is_traced
from optlayers.differentiation.by_core import attach_by_core
from optlayers.differentiation.reattach import is_polyhedral, reattach, tangent
from optlayers.differentiation.relaxed import reattach_relaxed
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import NO_VALUES, Map, Values
from optlayers.parametric.range import Range
from optlayers.parametric.symbolic import Affine, stack
from optlayers.projection.conditions import tolerance
from optlayers.projection.iterative_piece import IterativePiece, Projected
from optlayers.projection.rows import BlockRows
from optlayers.recognition.block import Block
from optlayers.solvers.constants import pack_constants, unpack_constants
from optlayers.solvers.core import Samples
from optlayers.solvers.formulation import Bounds
from optlayers.solvers.geometry import Geometry, row_norms
from optlayers.solvers.nearest import Nearest
from optlayers.solvers.operator import nearest_point
from optlayers.solvers.route import formulate, nearest_of_samples
from optlayers.solvers.splitting import SplittingMap
from optlayers.solvers.status import Status, worst

_PART = 1e-5  # of the largest multiplier, from which a row belongs to a certificate


class GeneralPiece(IterativePiece):
    """Blocks of one structure, ``{x : lower <= (x_bounded, matrix x) <= upper, ...}``, see `Structure`."""

    def __init__(self, members: Sequence[BlockRows], starts: Sequence[int]) -> None:
        first = members[0]
        self.rows = tuple(members)
        self.blocks: tuple[Block, ...] = tuple(member.block for member in members)
        self.structure, self.code = first.structure, first.structure.encode()
        self.lower: Map = stack([member.lower for member in members]).compile(starts)
        self.upper: Map = stack([member.upper for member in members]).compile(starts)
        self.is_parametric = not all(m.lower.is_constant and m.upper.is_constant for m in members)
        self.matrix: Constant | Map
        self.constants: list[Constant] = []
        self.bounds: list[Constant] = []
        if first.matrix.is_constant:
            self.matrix = Constant(first.matrix.constant[None])
            matrix = torch.from_numpy(first.matrix.constant)
            geometry = Geometry.of(matrix, first.structure)
            packed = pack_constants(geometry, SplittingMap.of(geometry, first.structure))
            self.constants = [Constant(part.numpy()) for part in packed]
            self._keep_bounds(geometry)
        else:
            self.matrix = Affine.stack([member.matrix for member in members]).compile(starts)
            self.is_parametric = True

    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        shape, constants, data = self._prepare(v, values)
        start = None if start is None else _flat(start, shape, 1)
        crossed: Tensor | None = None
        if not self.bounds:
            crossed = _crossed(*data[2:], tolerance(values.dtype)).any(-1)
            lower, upper = Range(*data[2:]).uncrossed().bounds
            data = (*data[:2], lower, upper)
        if is_traced() or has_tangent(*data):
            solution = nearest_point(self.code, constants, *data, start, relax=relax, precision=values.precision)
        else:
            samples, bounds = Samples(self.structure, *data), self._known_bounds(v)
            solution = nearest_of_samples(
                samples, constants, start, relax=relax, precision=values.precision, bounds=bounds
            )
        status = solution.status if crossed is None else torch.where(crossed, int(Status.INFEASIBLE), solution.status)
        x = self._attached(solution, constants, *data, relax=relax) if _has_derivatives(*data) else solution.x
        return Projected(
            x[:, : self.structure.size].to(v.dtype).reshape(*shape, self.structure.size),
            worst(status.reshape(shape)),
            solution.violation.reshape(shape).amax(-1),
            solution.steps.reshape(shape).amax(-1),
            solution.y.reshape(*shape, self.structure.slacks),
            torch.cat([solution.y, solution.x], -1).reshape(*shape, self.structure.slacks + self.structure.columns),
            solution.error.reshape(shape).amax(-1),
        )

    def method(self, block: int) -> str:
        return "no closed form is used for this combination, so it runs on the general solver, iterative, to rounding."

    @property
    def state_shape(self) -> tuple[int, int]:
        """Duals and points, auxiliary entries included."""
        return len(self.blocks), self.structure.slacks + self.structure.columns

    def suspects(self, values: Values) -> set[int]:
        """Return the user's constraints that have a part in a Farkas certificate, for values of one sample."""
        zeros = torch.zeros(self.columns.shape, dtype=torch.float64, device=values.device)
        _, constants, data = self._prepare(zeros, values)
        crossed = _crossed(*data[2:], tolerance(values.dtype))
        for member, crossing in zip(self.rows, crossed, strict=True):
            if bool(crossing.any()):
                slack = int(crossing.nonzero()[0])
                return member.sources(slack, 1.0) | member.sources(slack, -1.0)
        relaxed = nearest_point(self.code, constants, *data, relax=True)
        result: set[int] = set()
        for member, shift, status in zip(self.rows, relaxed.shift, relaxed.status.tolist(), strict=True):
            if status == int(Status.INFEASIBLE):
                parts = (shift.abs() > _PART * shift.abs().max()).nonzero().flatten().tolist()
                return result.union(*(member.sources(k, float(shift[k])) for k in parts))
        return result

    def constant_suspects(self) -> set[int] | None:
        if self.is_parametric:
            return None
        zeros = torch.zeros(self.columns.shape, dtype=torch.float64, device=NO_VALUES.device)
        status = self.solve(zeros, NO_VALUES).status
        return self.suspects(NO_VALUES) if int(status) == int(Status.INFEASIBLE) else None

    def _keep_bounds(self, geometry: Geometry) -> None:
        """Compute once what depends on bounds that are sound numbers."""
        if self.is_parametric:
            return
        lower, upper = self.lower(NO_VALUES), self.upper(NO_VALUES)
        if bool(_crossed(lower, upper, tolerance(NO_VALUES.dtype)).any()):
            return
        bounds = Bounds.of(self.structure, geometry, *Range(lower, upper).uncrossed().bounds)
        self.bounds = [Constant(part.numpy()) for part in bounds.pack()]

    def _known_bounds(self, v: Tensor) -> Bounds | None:
        return Bounds(*(constant.on(v.device) for constant in self.bounds)) if self.bounds else None

    def _prepare(
        self, v: Tensor, values: Values
    ) -> tuple[tuple[int, ...], list[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return the shape ``(*batch, blocks)``, the constants, and points, matrix and bounds in double precision."""
        double = Values(tuple(t.double() for t in values.tensors), torch.float64, values.device)
        lower, upper = self.lower(double), self.upper(double)
        matrix = self.matrix.on(double.device) if isinstance(self.matrix, Constant) else self.matrix(double)
        is_shared = isinstance(self.matrix, Constant) or math.prod(matrix.shape[:-2]) == 1
        shapes = {v.shape[:-2], lower.shape[:-2], upper.shape[:-2], *([] if is_shared else [matrix.shape[:-3]])}
        batch = v.shape[:-2] if shapes <= {v.shape[:-2], ()} else torch.broadcast_shapes(*shapes)
        shape = (*batch, len(self.blocks))
        matrix = matrix.reshape(1, *matrix.shape[-2:]) if is_shared else _flat(matrix, shape, 2)
        data = (_flat(v.double(), shape, 1), matrix, _flat(lower, shape, 1), _flat(upper, shape, 1))
        return shape, [constant.on(double.device) for constant in self.constants], data

    def _attached(self, solution: Nearest, constants: list[Tensor], *data: Tensor, relax: bool) -> Tensor:
        """Return the points as functions of the data; those of samples without answer are of no use, but finite."""
        by_torch = functools.partial(self._attached_by_torch, solution, constants, relax=relax)
        if not solution.by_core:
            return by_torch(*data)
        return attach_by_core(Samples(self.structure, *data), solution.x, solution.y, by_torch)

    def _attached_by_torch(
        self,
        solution: Nearest,
        constants: list[Tensor],
        v: Tensor,
        matrix: Tensor,
        lower: Tensor,
        upper: Tensor,
        *,
        relax: bool,
    ) -> Tensor:
        samples = Samples(self.structure, v, matrix, lower, upper)
        formulation = solution.formulation if constants else None
        if formulation is not None and solution.of_work is not None and not bool(solution.status.any()):
            x, y = solution.of_work
            if self.bounds and is_polyhedral(formulation.work):
                work, enter, restore = formulation.work, formulation.enter_directions, formulation.restore_directions
                return follow(solution.x, v, lambda change: restore(tangent(work, x, y, enter(change))))
            return formulation.user_points(reattach(formulation.work, x, y, None))
        geometry, _ = unpack_constants(constants)
        formulation = formulate(samples, geometry, self._known_bounds(v))
        relaxed = (solution.shift != 0).any(-1)
        usable = ((solution.status == int(Status.SOLVED)) | (~relaxed & relax)).unsqueeze(-1)
        x, y = formulation.enter(solution.x, solution.y)
        x = torch.where(usable, primal(x), primal(formulation.work.v))
        result = formulation.user_points(reattach(formulation.work, x, primal(y), usable))
        if not relax or not (is_traced() or bool(relaxed.any())):
            return result
        geometry = Geometry.unreduced(matrix, row_norms(matrix, self.structure))
        formulation = formulate(samples, geometry, self._known_bounds(v))
        x, y = formulation.enter(solution.x, solution.y)
        nearest_to = formulation.user_points(reattach_relaxed(formulation.whole, primal(x), primal(y)))
        return torch.where(relaxed.unsqueeze(-1), nearest_to, result)


def _crossed(lower: Tensor, upper: Tensor, relative: float) -> Tensor:
    """Return which lower bounds exceed the upper ones by more than rounding, without derivatives."""
    lower, upper = primal(lower), primal(upper)
    return lower - upper > relative * (1 + lower.abs() + upper.abs())


def _flat(tensor: Tensor, shape: tuple[int, ...], event: int) -> Tensor:
    """Return ``(samples, *event)``."""
    last = tensor.shape[tensor.ndim - event :]
    return tensor.expand(*shape, *last).reshape(math.prod(shape), *last)


def _has_derivatives(*tensors: Tensor) -> bool:
    if is_traced():
        return torch.is_grad_enabled() or not torch.compiler.is_compiling()
    return (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)) or has_tangent(*tensors)
