"""The smooth map onto a whole set: the product of the maps onto its pieces."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from optlayers.bound_set import BoundSet
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.oracle import through_ties
from optlayers.oracles.smooth_maps import SmoothMap, smooth_map
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet


@dataclass(frozen=True, eq=False)
class SmoothSet:
    """A smooth map from tensors without constraints onto the relative interior of a set of one variable.

    Attributes
    ----------
    feasible_set : FeasibleSet
        All parameters are bound.
    kinds : tuple of type
        The smooth map of each piece.
    """

    feasible_set: FeasibleSet
    kinds: tuple[type[SmoothMap], ...]

    @classmethod
    def of(cls, feasible_set: FeasibleSet, like: Tensor | None = None) -> "SmoothSet":
        """Choose the maps by the values of the parameters, on the device of `like`.

        Raises
        ------
        ValueError
            If some piece of the set has no smooth map.
        """
        bound = _bind(feasible_set, torch.get_default_device() if like is None else like.device)
        kinds = [smooth_map(closed_form) for closed_form in bound.sets]
        if None in kinds or not bound.is_closed_form:
            raise smooth_map.refusal(bound)
        return cls(feasible_set, tuple(kinds))

    def at(self, feasible_set: FeasibleSet) -> "SmoothSet":
        """Return the maps onto the same constraints with other values of the parameters."""
        return replace(self, feasible_set=feasible_set)

    @property
    def is_bijective(self) -> bool:
        """Whether free parameters and points of the interior are one to one."""
        pairs = zip(self.kinds, _bind(self.feasible_set, torch.device("cpu")).sets, strict=True)
        return all(not isinstance(bound, Tied) and kind(bound).is_bijective for kind, bound in pairs)

    def forward(self, raw: Tensor) -> Tensor:
        """Return points of the set for free parameters ``(*batch, *shape)``, in their dtype."""
        return self._map(raw, lambda piece, part: piece.forward(part))

    def inverse(self, y: Tensor, margin: float = 1e-6) -> Tensor:
        """Return free parameters of points of the set; points on the boundary are moved inside by the margin."""
        return self._map(y, lambda piece, part: piece.inverse(part, margin))

    def log_abs_det(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the Jacobian's absolute determinant of a bijective map, ``(*batch,)``."""
        v, bound = self.feasible_set.prepare(raw)
        parts = zip(self.kinds, bound.sets, bound.split(v), strict=True)
        return torch.stack([kind(piece).log_abs_det(part).sum(-1) for kind, piece, part in parts]).sum(0).to(raw.dtype)

    def _map(self, point: Tensor, function: Callable[[SmoothMap, Tensor], Tensor]) -> Tensor:
        v, bound = self.feasible_set.prepare(point)

        def run(v: Tensor, bound: BoundSet) -> Tensor:
            parts = zip(self.kinds, bound.sets, bound.split(v), strict=True)
            return bound.join([through_piece(kind, piece, part) for kind, piece, part in parts])

        def through_piece(kind: type[SmoothMap], piece: ClosedFormSet | Tied, part: Tensor) -> Tensor:
            return through_ties(lambda inner, vector: function(kind(inner), vector), piece, part)

        return self.feasible_set.unflatten(bound.outside_autocast(run, v), (point,))  # pyright: ignore[reportReturnType]


def _bind(feasible_set: FeasibleSet, device: torch.device) -> BoundSet:
    return feasible_set.prepare(torch.zeros(feasible_set.variables[0].shape, dtype=torch.float64, device=device))[1]
