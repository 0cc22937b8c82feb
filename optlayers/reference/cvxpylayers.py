"""The reference method: the same projection through cvxpylayers and diffcp (extra `reference`), a sample at a time.

Slow, on the CPU, and accurate to about 1e-5 only, because diffcp needs the distance as a second-order cone; but it
shares nothing with the rest of the library, and it takes every set that CVXPY can express.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced
from optlayers.declaration.snapshot import Snapshot
from optlayers.errors import extra
from optlayers.parametric.maps import Values
from optlayers.projection.iterative_piece import IterativePiece, Projected
from optlayers.recognition.block import Block
from optlayers.solvers.status import Status

_DENSE_LIMIT = 300  # beyond this many entries, derivatives by iteration (LSQR) instead of by dense elimination
_TOLERANCE = 1e-12
_FEASIBILITY = 1e-4  # relative; above it a sample counts as failed


class ReferencePiece(IterativePiece):
    """``argmin_y ||y - v||`` over all CVXPY constraints, differentiable once in the point and the parameters.

    The constraints are on the snapshot's leaves, which have values only while samples are checked.
    """

    def __init__(self, blocks: Sequence[Block], snapshot: Snapshot) -> None:
        self.blocks = tuple(blocks)
        self.constraints = snapshot.constraints
        sources = (snapshot.variables, *(c.variables() for c in self.constraints))
        self.variables = list({v.id: v for source in sources for v in source}.values())
        # plain copies: cvxpylayers does not return variables with attributes such as diag correctly
        self.copies = [cp.Variable(v.shape) for v in self.variables]
        self.points = [cp.Parameter(v.shape) for v in snapshot.variables]
        distance = sum(cp.sum_squares(copy - point) for copy, point in zip(self.copies, self.points, strict=False))
        ties = [copy == v for copy, v in zip(self.copies, self.variables, strict=True)]
        self.problem = cp.Problem(cp.Minimize(distance), [*self.constraints, *ties])
        used = {p.id for p in self.problem.parameters()}
        self.used = [k for k, p in enumerate(snapshot.parameters) if p.id in used]
        self.parameters = [snapshot.parameters[k] for k in self.used]

    @property
    def columns(self) -> np.ndarray:
        return np.arange(sum(block.size for block in self.blocks))[None]

    def method(self, block: int) -> str:
        return "it runs on cvxpylayers, as asked for: iterative, accurate to about 1e-5, slow."

    def solve(self, v: Tensor, values: Values, *, relax: bool = False, start: Tensor | None = None) -> Projected:
        """Project points ``(*batch, 1, n)``; samples that fail come back as NaN."""
        if is_traced():
            raise NotImplementedError(
                "method='cvxpylayers' does not support torch.compile, torch.export, vmap or forward-mode derivatives; "
                "method='general' does"
            )
        batch = torch.broadcast_shapes(v.shape[:-2], *(t.shape[:-1] for t in values.tensors))
        samples, points = math.prod(batch), v.squeeze(-2).split([p.size for p in self.points], -1)
        arguments = [
            t.to("cpu", torch.float64).expand(*batch, t.shape[-1]).reshape(samples, *leaf.shape)
            for t, leaf in zip(
                [*points, *(values.tensors[k] for k in self.used)], [*self.points, *self.parameters], strict=True
            )
        ]
        projected = self._project(arguments) if samples else arguments
        flat = [y.reshape(samples, point.size) for y, point in zip(projected, self.points, strict=False)]
        value = torch.cat(flat, -1).to(v).reshape(*batch, *v.shape[-2:])
        failed = ~value.detach().isfinite().all(-1).squeeze(-1)
        status = torch.where(failed, int(Status.INFEASIBLE), int(Status.SOLVED))
        zeros = torch.zeros_like(status)
        return Projected(value, status, zeros.to(v.dtype), zeros, value[..., :0], value[..., :0])

    @cached_property
    def _layer(self) -> Any:
        with extra("reference"):
            from cvxpylayers.torch.cvxpylayer import CvxpyLayer
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), _TOLERANCE)
        arguments: dict[str, Any] = {"solve_method": "Clarabel", **tolerances}
        parameters = [*self.points, *self.parameters]
        return CvxpyLayer(self.problem, parameters=parameters, variables=self.copies, solver_args=arguments)

    def _project(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """Return values of all variables; NaN for samples that diffcp fails on, empty sets included."""
        values = self._run(arguments)
        if values is None:  # one bad sample fails the batch
            missing = [torch.full((1, *copy.shape), torch.nan, dtype=torch.float64) for copy in self.copies]
            singles = [self._run([t[k : k + 1] for t in arguments]) or missing for k in range(len(arguments[0]))]
            values = [torch.cat(parts) for parts in zip(*singles, strict=True)]
        feasible = self._feasible([*values, *arguments[len(self.points) :]])
        return [torch.where(feasible.reshape(-1, *[1] * (y.ndim - 1)), y, torch.nan) for y in values]

    def _run(self, arguments: Sequence[Tensor]) -> list[Tensor] | None:
        options = {}
        if torch.is_grad_enabled() and any(t.requires_grad for t in arguments):
            size = sum(v.size for v in self.problem.variables())
            options["mode"] = "dense" if size <= _DENSE_LIMIT else "lsqr"
        layer = self._layer
        from diffcp.cone_program import SolverError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return list(layer(*arguments, solver_args=options))
            except SolverError:
                return None

    def _feasible(self, values: Sequence[Tensor]) -> Tensor:
        """Check each sample's constraints in CVXPY: diffcp calls solved what Clarabel found infeasible."""
        leaves = [*self.variables, *self.parameters]
        demands = [*self.constraints, *(c for v in self.variables for c in v.domain)]
        feasible = []
        for arrays in zip(*(value.detach().numpy() for value in values), strict=True):
            for leaf, array in zip(leaves, arrays, strict=True):
                leaf.save_value(array)
            size = 1 + max(abs(array).max(initial=0) for array in arrays[: len(self.variables)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                violations = [c.violation().max() for c in demands]
            feasible.append(max(violations, default=0.0) <= _FEASIBILITY * size)
        for leaf in leaves:
            leaf.save_value(None)
        return torch.tensor(feasible)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_layer"}


def make_reference_pieces(blocks: Sequence[Block], snapshot: Snapshot, labels: Sequence[str]) -> list[ReferencePiece]:
    """Put all blocks together, but for those of auxiliary entries alone."""
    blocks = [block for block in blocks if block.size]
    return [ReferencePiece(blocks, snapshot)] if blocks else []
