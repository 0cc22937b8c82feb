"""The smooth map onto a whole set: the product of the maps onto its pieces."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Importing a module registers its maps.
import optlayers.oracles.smooth_matrices
import optlayers.oracles.smooth_sections
import optlayers.oracles.smooth_vectors  # noqa: F401
from optlayers.bound_set import BoundSet
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.smooth_maps import SmoothMap, find_smooth_map
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
    def of(cls, feasible_set: FeasibleSet, like: Tensor | None = None) -> SmoothSet:
        """Choose the maps by the values of the parameters, on the device of `like`.

        Raises
        ------
        ValueError
            If some block of the set has no smooth map.
        """
        device = torch.get_default_device() if like is None else like.device
        sets = _sets(feasible_set, torch.zeros(feasible_set.variables[0].shape, dtype=torch.float64, device=device))
        found = []
        missing = [f"a set of {b.summary()}" for piece in feasible_set.compiled.general for b in piece.blocks]
        for piece, own in zip(feasible_set.compiled.pieces, sets, strict=True):
            kind = find_smooth_map(own.inner if isinstance(own, Tied) else own)
            if kind is None:
                missing += sorted(set(piece.labels))
            else:
                found.append(kind)
        if missing:
            raise ValueError(
                f"no smooth map onto {', '.join(missing)}. There are maps onto boxes, half-spaces, affine sets, "
                "simplexes (capped ones too), knapsacks, monotone sequences, L2 balls, ellipsoids, semidefinite cones "
                'and spectraplexes; register_smooth_map adds one. how="projection" takes every set, and so do the '
                "other strategies: projected steps, penalties and multipliers"
            )
        return cls(feasible_set, tuple(found))

    def at(self, feasible_set: FeasibleSet) -> SmoothSet:
        """Return the maps onto the same constraints with other values of the parameters."""
        return replace(self, feasible_set=feasible_set)

    @property
    def is_bijective(self) -> bool:
        """Whether free parameters and points of the interior are one to one."""
        like = torch.zeros(self.feasible_set.variables[0].shape, dtype=torch.float64)
        sets = _sets(self.feasible_set, like)
        return all(
            not isinstance(own, Tied) and kind(own).is_bijective for kind, own in zip(self.kinds, sets, strict=True)
        )

    def forward(self, raw: Tensor) -> Tensor:
        """Return points of the set for free parameters ``(*batch, *shape)``, in their dtype."""
        return self._apply(raw, _forward)

    def inverse(self, y: Tensor, margin: float = 1e-6) -> Tensor:
        """Return free parameters of points of the set; points on the boundary are moved inside by the margin."""
        return self._apply(y, functools.partial(_inverse, margin=margin))

    def log_abs_det(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the Jacobian's absolute determinant of a bijective map, ``(*batch,)``."""
        v, bound = self.feasible_set.prepare(raw)
        parts = zip(self.kinds, bound.sets, bound.split(v), strict=True)
        return torch.stack([kind(own).log_abs_det(part).sum(-1) for kind, own, part in parts]).sum(0).to(raw.dtype)

    def _apply(self, point: Tensor, function: Callable[[type[SmoothMap], ClosedFormSet, Tensor], Tensor]) -> Tensor:
        v, bound = self.feasible_set.prepare(point)

        def run(v: Tensor, bound: BoundSet) -> Tensor:
            results = [
                _through_ties(own, part, functools.partial(function, kind))
                for kind, own, part in zip(self.kinds, bound.sets, bound.split(v), strict=True)
            ]
            return bound.join(results)

        flat = bound.outside_autocast(run, v)
        return self.feasible_set.unflatten(flat, (point,))  # type: ignore[return-value] (one variable)


def _forward(kind: type[SmoothMap], own: ClosedFormSet, part: Tensor) -> Tensor:
    return kind(own).forward(part)


def _inverse(kind: type[SmoothMap], own: ClosedFormSet, part: Tensor, *, margin: float) -> Tensor:
    return kind(own).inverse(part, margin)


def _through_ties(
    own: ClosedFormSet | Tied, part: Tensor, function: Callable[[ClosedFormSet, Tensor], Tensor]
) -> Tensor:
    """Apply a function in the coordinates in which tied entries are one."""
    if isinstance(own, Tied):
        return function(own.inner, part @ own.matrix) @ own.matrix.mT
    return function(own, part)


def _sets(feasible_set: FeasibleSet, like: Tensor) -> Sequence[ClosedFormSet | Tied]:
    return feasible_set.prepare(like)[1].sets
