"""The projection in the coordinates of the solver, for many samples at once, and its one KKT residual."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from optlayers import cones
from optlayers.autograd.primal import primal
from optlayers.solvers.structure import ConeGroups, cone_slacks


@dataclass(frozen=True, eq=False)
class ConicProgram:
    """``min 1/2 sum_i weight_i (x_i - v_i)^2``, ``s = rows @ x``, or ``s = (x, rows @ x)`` with a `box`, in the range.

    The range of the slacks `s` is ``[lower, upper]``, and ``lower + K`` for the slacks of cones, which come last.
    """

    weight: Tensor  # (n,): ones; zeros for auxiliary entries
    is_strong: bool  # whether every entry has a weight, so that the objective is strongly convex
    rows: Tensor  # (1, m, n) or (samples, m, n)
    box: bool  # whether the entries themselves are the first slacks
    lower: Tensor  # (samples, n + m) or (samples, m), as `upper`
    upper: Tensor
    v: Tensor  # (samples, n)
    cones: ConeGroups = ()
    gram: Tensor | None = None  # (m, m), ``rows rows'``, where all samples share them and that has been computed

    @property
    def samples(self) -> int:
        return self.v.shape[0]

    @property
    def scale(self) -> Tensor:
        """The size of the points, at least one, to which stationarity is relative: ``(samples,)``."""
        return largest(self.v).clamp_min(1.0)

    @property
    def linear(self) -> int:
        """The number of slacks in intervals."""
        return self.lower.shape[-1] - cone_slacks(self.cones)

    def select(self, index: Tensor) -> "ConicProgram":
        """Return the program of some samples."""
        if len(index) == self.samples:
            return self
        rows = self.rows if self.rows.shape[0] == 1 else self.rows[index]
        return replace(self, rows=rows, lower=self.lower[index], upper=self.upper[index], v=self.v[index])

    def detached(self) -> "ConicProgram":
        """Return the program without derivatives."""
        rows, lower, upper, v = (primal(t) for t in (self.rows, self.lower, self.upper, self.v))
        return replace(self, rows=rows, lower=lower, upper=upper, v=v)

    def times(self, x: Tensor) -> Tensor:
        """Return ``rows @ x`` for points ``(samples, n)``."""
        return x @ self.rows[0].mT if self.rows.shape[0] == 1 else (self.rows @ x.unsqueeze(-1)).squeeze(-1)

    def transposed_times(self, y: Tensor) -> Tensor:
        """Return ``rows' @ y`` for duals ``(samples, m)``."""
        return y @ self.rows[0] if self.rows.shape[0] == 1 else (self.rows.mT @ y.unsqueeze(-1)).squeeze(-1)

    def chosen_rows(self, index: Tensor) -> Tensor:
        """Return some rows of each sample, ``(samples, k, n)``, for an index ``(samples, k)``."""
        if self.rows.shape[0] == 1:
            return self.rows[0][index]
        return self.rows.gather(1, index.unsqueeze(-1).expand(-1, -1, self.rows.shape[-1]))

    def apply(self, x: Tensor) -> Tensor:
        """Return the slacks of points ``(samples, n)``."""
        return torch.cat([x, self.times(x)], -1) if self.box else self.times(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the adjoint of `apply` on duals ``(samples, slacks)``."""
        n = self.v.shape[-1]
        return y[:, :n] + self.transposed_times(y[:, n:]) if self.box else self.transposed_times(y)

    def nearest_slack(self, z: Tensor) -> Tensor:
        """Project slacks onto intervals, and the last ones onto shifted cones."""
        if not self.cones:
            return z.clamp(self.lower, self.upper)
        first = self.linear
        parts = [z[..., :first].clamp(self.lower[..., :first], self.upper[..., :first])]
        for kind, alpha, cone in split_cones(z - self.lower, self.cones):
            parts.append(cones.project(kind, alpha, cone).flatten(-2))
        joined = torch.cat(parts, -1)
        return torch.cat([joined[..., :first], joined[..., first:] + self.lower[..., first:]], -1)

    def error(self, x: Tensor, y: Tensor, relaxation: float = 0.0) -> Tensor:
        """Return the largest absolute KKT residual, relative: ``(samples,)``; zero exactly at solutions.

        The residual is ``weight (x - v) - A' y``, and ``s - P(s - y)`` for the slacks ``s = A x``: feasibility,
        complementarity and the signs of the duals in one (the natural residual of the variational inequality).
        Stationarity is relative to the points, the other part to the solutions and to 1, see `Formulation`: far points
        must land on the set all the same. Large duals are scaled down first, so that their rounding does not count;
        NaN counts as infinite. With a `relaxation`, slacks are ``A x + relaxation y``.
        """
        s = self.apply(x)
        if relaxation:
            s = s + relaxation * y
        size = largest(x).clamp_min(1.0)
        dual = y / (largest(y) / size).clamp_min(1.0).unsqueeze(-1)
        gap = largest(s - self.nearest_slack(s - dual)) / size
        stationarity = largest(self.weight * (x - self.v) - self.adjoint(y)) / self.scale
        return torch.maximum(gap, stationarity).nan_to_num(torch.inf, torch.inf)


def largest(tensor: Tensor) -> Tensor:
    """Return the largest absolute entry of the last dimension; zero where there are none."""
    return tensor.abs().amax(-1) if tensor.shape[-1] else tensor.sum(-1)


def split_cones(z: Tensor, groups: ConeGroups) -> Sequence[tuple[str, Tensor | float, Tensor]]:
    """Return kind, exponents and slacks ``(*batch, count, dimension)`` of each group of cones."""
    start = z.shape[-1] - cone_slacks(groups)
    result = []
    for kind, alphas, count, dimension in groups:
        alpha = torch.tensor(alphas, dtype=z.dtype, device=z.device) if kind == "pow" else 0.0
        cone = z[..., start : start + count * dimension]
        result.append((kind, alpha, cone.unflatten(-1, (count, dimension))))
        start += count * dimension
    return result
