"""The residual of the conic constraints: slack minus its projection, row by row, as a torch operation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm
from optlayers.cones import member
from optlayers.parametric.constants import Constant
from optlayers.parametric.maps import AffineMap, Values


class RowsMap:
    """``(y, p) -> A(p) y + b(p)`` as sparse torch operations, differentiable in both."""

    def __init__(self, rows: AffineRows, starts: Sequence[int]) -> None:
        self.shape = (len(rows), rows.n)
        self.offset: AffineMap = rows.offset.compile(starts)
        row, column, parameter, value = rows.triplets()
        owner = np.searchsorted(np.asarray(starts), parameter, side="right") - 1
        owner[parameter == rows.parameters] = -1
        self.terms: list[tuple[int, Constant, Constant, Constant, Constant]] = []
        for k in np.unique(owner[column < rows.n]):
            chosen = (owner == k) & (column < rows.n)
            entry = parameter[chosen] - (starts[k] if k >= 0 else 0)
            self.terms.append(
                (int(k), Constant(row[chosen]), Constant(column[chosen]), Constant(entry), Constant(value[chosen]))
            )

    def __call__(self, y: Tensor, values: Values) -> Tensor:
        """Return ``A(p) y + b(p)`` for points ``(*batch, n)``."""
        result = self.offset(values)
        result = result.expand(*torch.broadcast_shapes(result.shape[:-1], y.shape[:-1]), self.shape[0])
        for k, row, column, entry, value in self.terms:
            entries = y[..., column.on(values.device)] * value.on(values.device, values.dtype)
            if k >= 0:
                entries = entries * values.tensors[k][..., entry.on(values.device)]
            zeros = entries.new_zeros((*entries.shape[:-1], self.shape[0]))
            result = result + zeros.index_add(-1, row.on(values.device), entries)
        return result


class Residual:
    """Slack minus its projection onto the cone, for all rows of a form without auxiliary variables.

    First derivatives are exact and finite.
    """

    def __init__(self, form: ConicForm, starts: Sequence[int]) -> None:
        parts = [form.equalities, form.inequalities, *(cone.rows for cone in form.cones)]
        self.rows = RowsMap(form.rows, starts)
        self.cones = [(cone.kind, cone.alpha) for cone in form.cones]
        self.sizes = [len(part) for part in parts]

    def __call__(self, y: Tensor, values: Values) -> Tensor:
        """Return the residual ``(*batch, m)`` of points ``(*batch, n)``."""
        slacks = self.rows(y, values)
        known = slacks.detach().isfinite().all(-1, keepdim=True)  # eigenvalues of NaN would be an error
        zero, nonneg, *cones = torch.where(known, slacks, 0.0).split(self.sizes, -1)
        parts = [zero, nonneg.clamp_max(0.0)]
        for (kind, alpha), slack in zip(self.cones, cones, strict=True):
            parts.append(slack - member(kind, alpha, slack))
        return torch.where(known, torch.cat(parts, -1), torch.nan)
