"""Smooth maps onto sets of symmetric matrices, by Cholesky factors.

The factor is read off the lower triangle of the free matrix, with softplus on its diagonal; the upper triangle is not
used.
"""

from __future__ import annotations

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
    """

    @classmethod
    def serves(cls, own: SpectralSet) -> bool:
        if own.total is None:
            return True
        return own.lower is not None and own.upper is None and (own.total.is_fixed or own.total.lower is None)

    def forward(self, raw: Tensor) -> Tensor:
        factor = _factor(raw.unflatten(-1, self.own.center.shape[-2:]))
        product = factor @ factor.mT
        if self.own.total is not None:
            trace = _trace(product)
            ratio = self._budget() / (trace if self._is_fixed else 1 + trace)
            y = self._base(self.own.lower) + ratio[..., None, None] * product
        elif self.own.lower is None:
            y = self._base(self.own.upper) - product
        elif self.own.upper is None:
            y = self._base(self.own.lower) + product
        else:
            eye = torch.eye(product.shape[-1], dtype=product.dtype, device=product.device)
            share = eye - torch.cholesky_inverse(torch.linalg.cholesky(eye + product))
            y = self._base(self.own.lower) + (self.own.upper - self.own.lower)[..., None, None] * share
        return ((y + y.mT) / 2).flatten(-2)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        matrix = y.unflatten(-1, self.own.center.shape[-2:])
        matrix = (matrix + matrix.mT) / 2
        if self.own.total is not None:
            budget = self._budget()
            safe = torch.where(budget > 0, budget, 1.0)[..., None, None]
            values, vectors = torch.linalg.eigh((matrix - self._base(self.own.lower)) / safe)
            values = values.clamp_min(margin)
            if self._is_fixed:
                values = values / values.sum(-1, keepdim=True)
            else:
                values = values / (1 - values.sum(-1, keepdim=True)).clamp_min(margin)
        elif self.own.lower is None:
            values, vectors = torch.linalg.eigh(self._base(self.own.upper) - matrix)
            values = values.clamp_min(margin)
        else:
            values, vectors = torch.linalg.eigh(matrix - self._base(self.own.lower))
            values = values.clamp_min(margin)
            if self.own.upper is not None:
                width = self.own.upper - self.own.lower
                share = (values / torch.where(width > 0, width, 1.0).unsqueeze(-1)).clamp(margin, 1 - margin)
                values = share / (1 - share)
        return _unfactor(torch.linalg.cholesky((vectors * values.unsqueeze(-2)) @ vectors.mT)).flatten(-2)

    @property
    def _is_fixed(self) -> bool:
        return self.own.total is not None and self.own.total.is_fixed

    def _base(self, level: Tensor) -> Tensor:
        eye = torch.eye(self.own.center.shape[-1], dtype=level.dtype, device=level.device)
        return self.own.center + level[..., None, None] * eye

    def _budget(self) -> Tensor:
        return self.own.total.upper - self.own.center.shape[-1] * self.own.lower


def _factor(raw: Tensor) -> Tensor:
    """Return a lower triangular matrix with a positive diagonal."""
    return raw.tril(-1) + torch.diag_embed(softplus(raw.diagonal(dim1=-2, dim2=-1)))


def _unfactor(factor: Tensor) -> Tensor:
    """Undo `_factor`."""
    return factor.tril(-1) + torch.diag_embed(softplus_inverse(factor.diagonal(dim1=-2, dim2=-1)))


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
