"""Smooth maps onto sets of symmetric matrices, by Cholesky factors.

The factor is read off the lower triangle of the free matrix, with softplus on its diagonal; the upper triangle is not
used.
"""

from typing import Any

import torch
from torch import Tensor

from optlayers.oracles.smooth_bounds import softplus, softplus_inverse
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map
from optlayers.sets.spectral_set import SpectralSet


@register_smooth_map(SpectralSet)
class SmoothSpectral(SmoothMap):
    """With ``P = L L'``: the matrices above a level, or below one, between two, or with a trace that is bounded.

    - ``center + lower I + P`` and ``center + upper I - P``: semidefinite cones;
    - ``center + lower I + (upper - lower) P (I + P)^-1``;
    - ``center + lower I + budget P / trace(P)``: the spectraplex, with what is left of the trace as budget;
    - ``center + lower I + budget P / (1 + trace(P))``, where the trace is only bounded above.

    The inverse solves for the eigenvalues of `P`, and factors it again.
    """

    @classmethod
    def serves(cls, bound: SpectralSet) -> bool:
        if not bound.is_symmetric:
            return False
        if bound.total is None:
            return True
        return bound.lower is not None and bound.upper is None and (bound.total.is_fixed or bound.total.lower is None)

    def __init__(self, bound: Any) -> None:
        super().__init__(bound)
        level = bound.upper if bound.lower is None else bound.lower
        self.eye = torch.eye(bound.center.shape[-1], dtype=level.dtype, device=level.device)
        self.base = bound.center + level[..., None, None] * self.eye
        self.size = None  # of the budget, or between two bounds
        if bound.total is not None:
            self.size = bound.total.upper - bound.center.shape[-1] * bound.lower
        elif bound.lower is not None and bound.upper is not None:
            self.size = bound.upper - bound.lower

    def forward(self, raw: Tensor) -> Tensor:
        factor = _factor(raw.unflatten(-1, self.base.shape[-2:]))
        product = factor @ factor.mT
        if self.size is None:
            y = self.base - product if self.bound.lower is None else self.base + product
        elif self.bound.total is not None:
            trace = product.diagonal(dim1=-2, dim2=-1).sum(-1)
            ratio = self.size / (trace if self.bound.total.is_fixed else 1 + trace)
            y = self.base + ratio[..., None, None] * product
        else:
            share = self.eye - torch.cholesky_inverse(torch.linalg.cholesky(self.eye + product))
            y = self.base + self.size[..., None, None] * share
        return ((y + y.mT) / 2).flatten(-2)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        matrix = y.unflatten(-1, self.base.shape[-2:])
        part = self.base - matrix if self.bound.lower is None else matrix - self.base
        values, vectors = torch.linalg.eigh((part + part.mT) / 2)
        values = self._values(values, margin)
        return _unfactor(torch.linalg.cholesky((vectors * values.unsqueeze(-2)) @ vectors.mT)).flatten(-2)

    def _values(self, values: Tensor, margin: float) -> Tensor:
        """Return the eigenvalues of `P` from those of what it is mapped to, moved inside."""
        if self.size is None:
            return values.clamp_min(margin)
        share = values / torch.where(self.size > 0, self.size, 1.0).unsqueeze(-1)
        if self.bound.total is None:
            share = share.clamp(margin, 1 - margin)
            return share / (1 - share)
        share = share.clamp_min(margin)
        total = share.sum(-1, keepdim=True)
        return share / (total if self.bound.total.is_fixed else (1 - total).clamp_min(margin))


def _factor(raw: Tensor) -> Tensor:
    """Return a lower triangular matrix with a positive diagonal."""
    return raw.tril(-1) + torch.diag_embed(softplus(raw.diagonal(dim1=-2, dim2=-1)))


def _unfactor(factor: Tensor) -> Tensor:
    """Undo `_factor`."""
    return factor.tril(-1) + torch.diag_embed(softplus_inverse(factor.diagonal(dim1=-2, dim2=-1)))
