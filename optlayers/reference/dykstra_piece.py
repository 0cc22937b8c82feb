"""Dykstra's alternating projections: the piece of a set that projects onto simple members in turn."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.primal import primal
from optlayers.autograd.tracing import has_tangent, is_traced
from optlayers.declaration.snapshot import Snapshot
from optlayers.differentiation.reattach import reattach
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import Values
from optlayers.parametric.symbolic import Affine, stack
from optlayers.projection.conditions import tolerance
from optlayers.projection.iterative_piece import IterativePiece, Projected
from optlayers.projection.pieces import ClosedFormPiece, make_pieces, match
from optlayers.projection.rows import BlockRows
from optlayers.projection.ties import Tied
from optlayers.recognition.block import Block
from optlayers.reference.dykstra_members import Part, refusal, split, touched
from optlayers.sets import ClosedFormSet
from optlayers.solvers.formulation import Bounds, Formulation
from optlayers.solvers.geometry import Geometry, row_norms
from optlayers.solvers.status import Status

_TOLERANCE = 1e-10  # of the moves of a cycle, relative to the size of the point
_ACTIVE = 1e-8  # slacks this near to a bound, relative to the size of the point, are active
_EVERY = 8  # cycles between two looks at what is left to do


class DykstraPiece(IterativePiece):
    """Blocks that are intersections of recognised sets, alike ones together, by Dykstra's algorithm.

    In turn for each member set, ``x_new, p_new = P(x + p), x + p - x_new``; `x` tends to the projection onto the
    intersection, and `p` to normals of the members there (Boyle and Dykstra, "A method for finding projections onto
    the intersection of convex sets in Hilbert spaces", 1986). In double precision, whatever the points are.

    Convergence is linear at best, at a rate set by the angles between the members: samples for which `max_cycles` are
    not enough come back unsolved, a slow one is accurate only to ``1e-10 / (1 - rate)``, relative to the size of the
    point. That the members have no point in common is never proved; that one alone is empty is. There is no warm start
    and no least-infeasible point. Derivatives of blocks without cones are exact, and of any order; those of others are
    the limit of as many linear steps backwards as it takes, which need the memory of one cycle: first derivatives only,
    and not in forward mode. `torch.compile`, `torch.export` and the transforms of `torch.func` are not supported.
    """

    max_cycles = 10_000

    def __init__(self, blocks: Sequence[Block], parts: Sequence[Sequence[Part]], starts: Sequence[int]) -> None:
        """Put blocks together; `parts` are those of each block."""
        self.blocks = tuple(blocks)
        members: list[ClosedFormPiece] = []
        self.entries: list[Constant | None] = []  # which entries of a block a member takes; None: all
        for alike in zip(*parts, strict=True):
            members += make_pieces([part.block for part in alike], starts)[0]
            index = np.stack([part.entries for part in alike])
            self.entries.append(None if index.shape == self.columns.shape else Constant(index))
        self.members = members
        self._sizes = [member.size for member in members]
        self._rows = None if any(block.cones for block in blocks) else _AttachedRows(blocks, starts)

    def method(self, block: int) -> str:
        members = ", ".join(member.labels[block] for member in self.members)
        return f"it runs on Dykstra's alternating projections onto {members}, as asked for: iterative, maybe slow."

    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        """Project points ``(*batch, blocks, n)``; `relax` and `start` have no effect."""
        if is_traced():
            raise NotImplementedError(
                "method='dykstra' does not support torch.compile, torch.export or the transforms of torch.func; "
                "method='general' does"
            )
        batch = torch.broadcast_shapes(v.shape[:-2], *(t.shape[:-1] for t in values.tensors))
        samples, sizes = math.prod(batch), [t.shape[-1] for t in values.tensors]
        point = v.double().expand(*batch, *v.shape[-2:]).reshape(samples, *v.shape[-2:])
        tensors = [
            t.double().flatten() if t.numel() == size else t.double().expand(*batch, size).reshape(samples, size)
            for t, size in zip(values.tensors, sizes, strict=True)
        ]
        double = Values(tuple(tensors), torch.float64, values.device)
        plain = Values(tuple(primal(t) for t in tensors), torch.float64, values.device)
        empty = self._empty(plain).expand(point.shape[:-1])
        x, p, error, steps = self._iterate(primal(point), plain, empty)
        solved = error <= _TOLERANCE
        status = torch.where(solved, int(Status.SOLVED), int(Status.UNSOLVED))
        status = torch.where(empty, int(Status.INFEASIBLE), status)
        is_forward = has_tangent(point, *tensors)
        if is_forward and self._rows is None:
            raise NotImplementedError(
                "method='dykstra' has no forward-mode derivatives of sets with cones; method='general' does"
            )
        if is_forward or (torch.is_grad_enabled() and any(t.requires_grad for t in (point, *tensors))):
            x = self._attached(x, p, solved, point, double)
        nothing = point.new_zeros(*batch, len(self.blocks), 0)
        return Projected(
            x.to(v.dtype).reshape(*batch, *v.shape[-2:]),
            status.amax(-1).reshape(batch),
            error.amax(-1).reshape(batch),
            steps.amax(-1).reshape(batch),
            nothing,
            nothing,
        )

    @torch.no_grad()
    def _empty(self, values: Values) -> Tensor:
        """Return which blocks have a member that is empty by itself."""
        result = torch.zeros(len(self.blocks), dtype=torch.bool, device=values.device)
        for member in self.members:
            for check in member.checks(values):
                result = result | (check.amount > tolerance(values.dtype)).any(-1)
        return result

    @torch.no_grad()
    def _iterate(self, v: Tensor, values: Values, empty: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return points, corrections, the moves of their last cycle and its number; each block stops when it is done.

        The moves of a cycle are the changes of the corrections, and small only near the solution, whereas the point
        alone may rest for many cycles far from it (Birgin and Raydan, "Robust stopping criteria for Dykstra's
        algorithm", 2005). They bound the change over the cycle and the distance to every member.
        """
        p, steps = v.new_zeros(*v.shape[:-1], sum(self._sizes)), torch.zeros_like(empty, dtype=torch.int64)
        whole = state = [v, p, torch.full_like(v[..., 0], torch.inf), steps]
        rows, done = torch.arange(len(v), device=v.device), empty
        size, sets = v.abs().amax(-1).clamp_min(1.0), self._bind(values)
        for cycle in range(self.max_cycles):
            if cycle % _EVERY == 0:
                left = (~done.all(-1)).nonzero().squeeze(-1)
                if 2 * len(left) <= len(rows):
                    whole = [old.index_copy(0, rows, new) for old, new in zip(whole, state, strict=True)]
                    state = [part[left] for part in state]
                    rows, done, size = rows[left], done[left], size[left]
                    tensors = tuple(t[left] if t.ndim > 1 else t for t in values.tensors)
                    values = dataclasses.replace(values, tensors=tensors)
                    sets = self._bind(values)
                if len(left) == 0:
                    break
            x, p, moves = self._cycle(sets, state[0], state[1])
            moves = moves / torch.maximum(size, x.abs().amax(-1))
            new = [x, p, moves, state[3] + 1]
            still = [done.unsqueeze(-1), done.unsqueeze(-1), done, done]
            state = [torch.where(*parts) for parts in zip(still, state, new, strict=True)]
            done = done | (moves <= _TOLERANCE) | ~moves.isfinite()
        x, p, moves, steps = (old.index_copy(0, rows, new) for old, new in zip(whole, state, strict=True))
        return x, p, moves, steps

    def _bind(self, values: Values) -> list[ClosedFormSet | Tied]:
        return [member.bind(values) for member in self.members]

    def _of_members(self, p: Tensor) -> list[tuple[Tensor | None, Tensor]]:
        """Return for each member the index of its entries, None for all, and its correction."""
        return [
            (None if entries is None else entries.on(p.device).expand(correction.shape), correction)
            for entries, correction in zip(self.entries, p.split(self._sizes, -1), strict=True)
        ]

    def _cycle(self, sets: Sequence[ClosedFormSet | Tied], x: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project once onto each member; return the point, the corrections, and the sum of the lengths of the moves."""
        corrections, moves = [], torch.zeros_like(x[..., 0])
        for bound, (index, correction) in zip(sets, self._of_members(p), strict=True):
            old = x if index is None else x.gather(-1, index)
            new = bound.project(old + correction)
            corrections.append(old + correction - new)
            moves = moves + torch.linalg.vector_norm((new - old).detach(), dim=-1)
            x = new if index is None else x.scatter(-1, index, new)
        return x, torch.cat(corrections, -1), moves

    def _point(self, v: Tensor, p: Tensor) -> Tensor:
        """Return ``v`` minus all corrections, which the point is after each cycle."""
        for index, correction in self._of_members(p):
            v = v - correction if index is None else v.scatter_add(-1, index, -correction)
        return v

    def _attached(self, x: Tensor, p: Tensor, solved: Tensor, v: Tensor, values: Values) -> Tensor:
        """Return the points as functions of the data: by the active rows, or as the fixed point of a cycle."""
        if self._rows is not None:
            return self._rows.attach(x, solved, v, values)
        start = p.clone().requires_grad_()
        image = self._cycle(self._bind(values), self._point(v, start), start)[1]
        return torch.where(solved.unsqueeze(-1), self._point(v, _FixedPoint.apply(image, start, self.max_cycles)), x)


class _FixedPoint(torch.autograd.Function):
    """A fixed point ``z = T(z)``, computed before: its derivative is ``(1 - T'(z))^-1`` times the explicit one of `T`.

    The sum of the powers of ``T'`` converges as the cycles do. Corrections need not be unique, which gives ``T'`` the
    eigenvalue 1; no derivative of the point has a part there, as the corrections' sum does not change along it.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, start: Tensor, max_steps: int) -> Tensor:
        ctx.graph, ctx.max_steps = (image, start), max_steps
        return image.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        if torch.is_grad_enabled():  # a graph of the derivative is asked for
            raise NotImplementedError("method='dykstra' has no second derivatives of sets with cones")
        image, start = ctx.graph
        result = term = gradient
        small = _TOLERANCE * gradient.abs().amax(-1, keepdim=True)
        for _ in range(ctx.max_steps):
            (term,) = torch.autograd.grad(image, start, term, retain_graph=True)
            result = result + term
            if bool((term.abs() <= small).all()):
                break
        return result, None, None


class _AttachedRows:
    """Blocks without cones as rows, to which their projections are attached."""

    def __init__(self, blocks: Sequence[Block], starts: Sequence[int]) -> None:
        rows = [BlockRows.of(block) for block in blocks]
        self.structure = rows[0].structure
        self.lower = stack([member.lower for member in rows]).compile(starts)
        self.upper = stack([member.upper for member in rows]).compile(starts)
        matrices = [member.matrix for member in rows]
        self.is_shared = all((matrix - matrices[0]).is_zero and matrix.is_constant for matrix in matrices)
        self.matrix = Affine.stack(matrices[:1] if self.is_shared else matrices).compile(starts)

    def attach(self, x: Tensor, solved: Tensor, v: Tensor, values: Values) -> Tensor:
        """Return points ``(samples, blocks, n)`` as functions of the data; slacks at a bound stay there."""
        shape = x.shape
        x, v, solved = x.flatten(0, 1), v.flatten(0, 1), solved.reshape(-1, 1)
        lower, upper = (f(values).expand(*shape[:-1], -1).flatten(0, 1) for f in (self.lower, self.upper))
        matrix = self.matrix(values)
        if not self.is_shared:
            matrix = matrix.expand(*shape[:-1], *matrix.shape[-2:]).flatten(0, 1)
        geometry = Geometry.unreduced(matrix, row_norms(primal(matrix), self.structure))
        formulation = Formulation.of(self.structure, geometry, Bounds.of(self.structure, geometry, lower, upper), v)
        program = formulation.whole
        x = torch.where(solved, x / formulation.unit, primal(program.v))
        # Duals serve to say which slacks are active: each one is larger than the distance of its slack from the bound.
        s, size = primal(program.apply(x)), torch.maximum(primal(program.scale), x.abs().amax(-1))
        near = _ACTIVE * size.unsqueeze(-1)
        below, above = (s - primal(program.lower)).abs(), (s - primal(program.upper)).abs()
        y = torch.where(below <= near, 2 * below, 0.0) - torch.where(above <= near, 2 * above, 0.0)
        return formulation.user_points(reattach(program, x, y, solved)).reshape(shape)


def make_dykstra_pieces(blocks: Sequence[Block], snapshot: Snapshot, labels: Sequence[str]) -> list[DykstraPiece]:
    """Split blocks into simple sets, and group those that can be run as one batch; `labels` are of all constraints.

    Raises
    ------
    ValueError
        If a block has auxiliary variables, or a constraint alone has no closed form.
    """
    groups: dict[object, list[tuple[Block, list[Part]]]] = {}
    for block in blocks:
        if block.auxiliary:
            sources = block.bound_sources(np.arange(block.size, block.size + block.auxiliary))
            for constraint in (*block.rows, *block.cones):
                sources |= set(constraint.sources) if (touched(constraint) >= block.size).any() else set()
            raise refusal(sources, labels, "needs auxiliary variables, which have no projection")
        parts = split(block)
        keys = []
        for part in parts:
            matched = match(part.block)
            if matched is None:
                raise refusal(part.block.sources, labels, "has no closed form by itself")
            keys.append(matched.key)
        structure = None if block.cones else BlockRows.of(block).structure
        groups.setdefault((block.size, tuple(keys), structure), []).append((block, parts))
    return [
        DykstraPiece([block for block, _ in group], [parts for _, parts in group], snapshot.starts)
        for group in groups.values()
    ]
