"""What the balls of norms of the singular values share."""

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.autograd.deferred import deferred
from optlayers.autograd.primal import primal
from optlayers.sets.base import Check, ClosedFormSet
from optlayers.sets.search.decompositions import svd

Factors = tuple[Tensor, Tensor, Tensor]  # a singular value decomposition


@dataclass(frozen=True, eq=False)
class MatrixNormBall(ClosedFormSet):
    """``{Y : ||Y - center|| <= radius}`` for a norm of the singular values.

    The nearest point keeps the singular vectors of ``V - center`` and projects the singular values (Lewis, "The convex
    analysis of unitarily invariant matrix functions", 1995).

    Attributes
    ----------
    center : Tensor, shape (*batch, n, m)
    radius : Tensor, shape (*batch,)
        A negative radius says that the set is empty.
    """

    center: Tensor
    radius: Tensor

    def project(self, v: Tensor) -> Tensor:
        """Project the singular values; on the boundary the derivative is that of an outside point."""
        offset = v.unflatten(-1, self.center.shape[-2:]) - self.center
        is_wide = offset.shape[-2] <= offset.shape[-1]
        wide = offset if is_wide else offset.mT
        u, s, vh = svd(primal(wide))
        level = primal(self.project_values(s))
        moved = (u * level.unsqueeze(-2)) @ vh
        nearest = torch.where((level == s).all(-1)[..., None, None], primal(wide), moved)

        def expand(order: int, wide: Tensor, radius: Tensor) -> Tensor:
            size = torch.where(s[..., :1] >= torch.finfo(s.dtype).tiny, s[..., :1], 1.0)
            unit = dataclasses.replace(self, radius=radius / size.squeeze(-1))
            factors = (u, s / size, vh)
            return unit.expand(order, wide / size.unsqueeze(-1), factors) * size.unsqueeze(-1)

        result = deferred(nearest, expand, wide, self.radius)
        return (self.center + (result if is_wide else result.mT)).flatten(-2)

    @abstractmethod
    def project_values(self, s: Tensor) -> Tensor:
        """Project singular values, ``(*batch, k)``."""

    @abstractmethod
    def expand(self, order: int, matrix: Tensor, factors: Factors) -> Tensor:
        """Return the projection of matrices ``(*batch, k, m)``, for its derivatives; see `SingularValues`."""

    def checks(self) -> list[Check]:
        return [Check.one(-self.radius)]
