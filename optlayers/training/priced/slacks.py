"""The rows of a declared set as functions of the point: what is zero, what is nonnegative, what is in a cone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from optlayers.cones.triangle import to_matrix
from optlayers.feasible_set import FeasibleSet


class Slacks(NamedTuple):
    """Rows of the conic form at points ``(*batch, *shape)``; feasible where all are in their cones.

    Attributes
    ----------
    zero, nonnegative : Tensor, shape (*batch, rows)
    cones : list of (kind, Tensor), each of shape (*batch, size)
        See `optlayers.compiler.conic_form.Cone`.
    """

    zero: Tensor
    nonnegative: Tensor
    cones: list[tuple[str, Tensor]]

    def scalars(self, kinds: tuple[str, ...] = ("soc", "psd")) -> Tensor:
        """Return, for all that is not an equality, numbers that are nonnegative exactly at feasible points.

        Cones give ``t - ||x||`` or the smallest eigenvalue.
        """
        parts = [self.nonnegative]
        for kind, slack in self.cones:
            if kind not in kinds:
                raise ValueError(f"there is no smooth function for cones of kind {kind!r}; use its distance instead")
            if kind == "soc":
                part = slack[..., 0] - torch.linalg.vector_norm(slack[..., 1:], dim=-1)
            else:
                part = torch.linalg.eigvalsh(to_matrix(slack))[..., 0]
            parts.append(part.unsqueeze(-1))
        return torch.cat(parts, -1)


def slacks(constraints: FeasibleSet, point: Tensor) -> Slacks:
    """Return the rows of a set on one variable at points, differentiable in both the points and the parameters.

    Raises
    ------
    ValueError
        If the rows need auxiliary variables, whose values the point does not give.
    """
    residual = constraints.compiled.residual
    if residual is None:
        raise ValueError(
            "this set's conic form has auxiliary variables, so its rows are no functions of the point: use the "
            "distance to the set, or write the constraint as a torch function"
        )
    v, bound = constraints.prepare(point)
    zero, nonnegative, *cones = residual.rows(v, bound.values).split(residual.sizes, -1)
    return Slacks(zero, nonnegative, [(kind, slack) for (kind, _), slack in zip(residual.cones, cones, strict=True)])
