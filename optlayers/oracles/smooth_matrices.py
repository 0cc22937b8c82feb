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

    The inverse solves for the eigenvalues of `P`, and factors it again.
    """

    @classmethod
    def serves(cls, bound: SpectralSet) -> bool:
        if not bound.is_symmetric:
            return False
        if bound.total is None:
            return True
        return bound.lower is not None and bound.upper is None and (bound.total.is_fixed or bound.total.lower is None)

    def forward(self, raw: Tensor) -> Tensor:
        factor = _factor(raw.unflatten(-1, self.bound.center.shape[-2:]))
        product = factor @ factor.mT
        if self.bound.total is not None:
            trace = product.diagonal(dim1=-2, dim2=-1).sum(-1)
            ratio = self._budget / (trace if self.bound.total.is_fixed else 1 + trace)
            y = self._base(self.bound.lower) + ratio[..., None, None] * product
        elif self.bound.lower is None:
            y = self._base(self.bound.upper) - product
        elif self.bound.upper is None:
            y = self._base(self.bound.lower) + product
        else:
            eye = torch.eye(product.shape[-1], dtype=product.dtype, device=product.device)
            share = eye - torch.cholesky_inverse(torch.linalg.cholesky(eye + product))
            y = self._base(self.bound.lower) + self._width[..., None, None] * share
        return ((y + y.mT) / 2).flatten(-2)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        matrix = y.unflatten(-1, self.bound.center.shape[-2:])
        matrix = (matrix + matrix.mT) / 2
        if self.bound.lower is None:
            values, vectors = torch.linalg.eigh(self._base(self.bound.upper) - matrix)
        else:
            values, vectors = torch.linalg.eigh(matrix - self._base(self.bound.lower))
        values = self._values(values, margin)
        return _unfactor(torch.linalg.cholesky((vectors * values.unsqueeze(-2)) @ vectors.mT)).flatten(-2)

    def _values(self, values: Tensor, margin: float) -> Tensor:
        """Return the eigenvalues of `P` from those of what it is mapped to, moved inside."""
        if self.bound.total is not None:
            share = (values / _positive(self._budget)).clamp_min(margin)
            total = share.sum(-1, keepdim=True)
            return share / (total if self.bound.total.is_fixed else (1 - total).clamp_min(margin))
        if self.bound.lower is None or self.bound.upper is None:
            return values.clamp_min(margin)
        share = (values / _positive(self._width)).clamp(margin, 1 - margin)
        return share / (1 - share)

    @property
    def _width(self) -> Tensor:
        return self.bound.upper - self.bound.lower

    @property
    def _budget(self) -> Tensor:
        return self.bound.total.upper - self.bound.center.shape[-1] * self.bound.lower

    def _base(self, level: Tensor) -> Tensor:
        eye = torch.eye(self.bound.center.shape[-1], dtype=level.dtype, device=level.device)
        return self.bound.center + level[..., None, None] * eye


def _positive(size: Tensor) -> Tensor:
    return torch.where(size > 0, size, 1.0).unsqueeze(-1)


def _factor(raw: Tensor) -> Tensor:
    """Return a lower triangular matrix with a positive diagonal."""
    return raw.tril(-1) + torch.diag_embed(softplus(raw.diagonal(dim1=-2, dim2=-1)))


def _unfactor(factor: Tensor) -> Tensor:
    """Undo `_factor`."""
    return factor.tril(-1) + torch.diag_embed(softplus_inverse(factor.diagonal(dim1=-2, dim2=-1)))
