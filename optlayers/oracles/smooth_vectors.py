"""Smooth maps onto boxes, half-spaces, affine sets, monotone sequences, balls and ellipsoids."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from optlayers.oracles.smooth_bounds import into_bounds, out_of_bounds, softplus, softplus_inverse
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map
from optlayers.sets.affine_set import AffineSet
from optlayers.sets.box import Box
from optlayers.sets.ellipsoid import Ellipsoid
from optlayers.sets.isotonic import Isotonic, arrange, restore
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.slab import Slab


@register_smooth_map(Box)
class SmoothBox(SmoothMap):
    """Entry by entry: the identity, softplus, or sigmoid; see `into_bounds`."""

    @property
    def is_bijective(self) -> bool:
        return self.own.lower is None or self.own.upper is None or bool((self.own.lower < self.own.upper).all())

    def forward(self, raw: Tensor) -> Tensor:
        return into_bounds(raw, self.own.lower, self.own.upper)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return out_of_bounds(y, self.own.lower, self.own.upper, margin)

    def log_abs_det(self, raw: Tensor) -> Tensor:
        free = torch.full_like(raw, torch.inf)
        lower = -free if self.own.lower is None else self.own.lower
        upper = free if self.own.upper is None else self.own.upper
        has_low, has_high = lower.isfinite(), upper.isfinite()
        both = has_low & has_high
        width = torch.where(both, upper - torch.where(has_low, lower, 0.0), 1.0)
        slope = torch.where(has_low, logsigmoid(raw), 0.0) + torch.where(has_high, logsigmoid(-raw), 0.0)
        return (slope + width.log()).sum(-1)


@register_smooth_map(Slab)
class SmoothSlab(SmoothMap):
    """Only the component along the normal is mapped, into its bounds; a hyperplane's points are projected."""

    @property
    def is_bijective(self) -> bool:
        return not self._is_hyperplane

    def forward(self, raw: Tensor) -> Tensor:
        if self._is_hyperplane:
            return self.own.project(raw)
        product = self._product(raw)
        return self._moved(raw, into_bounds(product, self.own.level.lower, self.own.level.upper) - product)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        if self._is_hyperplane:
            return y
        product = self._product(y)
        return self._moved(y, out_of_bounds(product, self.own.level.lower, self.own.level.upper, margin) - product)

    @property
    def _is_hyperplane(self) -> bool:
        return self.own.level.is_fixed

    def _product(self, y: Tensor) -> Tensor:
        return (self.own.normal * y).sum(-1)

    def _moved(self, y: Tensor, change: Tensor) -> Tensor:
        normal = self.own.normal
        return y + normal * (change / normal.square().sum(-1)).unsqueeze(-1)


@register_smooth_map(AffineSet)
class SmoothAffine(SmoothMap):
    """The projection, which is linear."""

    def forward(self, raw: Tensor) -> Tensor:
        return self.own.project(raw)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return y


@register_smooth_map(Isotonic)
class SmoothIsotonic(SmoothMap):
    """An end, and cumulative softplus of steps; between two bounds, cumulative softmax of ``n + 1`` steps, one fixed.

    Entries of a falling sequence are taken from its last to its first.
    """

    @property
    def is_bijective(self) -> bool:
        return True

    def forward(self, raw: Tensor) -> Tensor:
        lower, upper, shift = self._rising()
        x = self._turned(arrange(raw, self.own.order))
        if lower is not None and upper is not None:
            steps = torch.softmax(pad(x, (0, 1)), -1)[..., :-1]
            z = lower + (upper - lower) * steps.cumsum(-1)
        elif upper is not None:
            z = upper - softplus(x).flip(-1).cumsum(-1).flip(-1)
        else:
            first = x[..., :1] if lower is None else lower + softplus(x[..., :1])
            z = torch.cat([first, softplus(x[..., 1:])], -1).cumsum(-1)
        return restore(self._turned(z + shift), self.own.order)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        lower, upper, shift = self._rising()
        z = self._turned(arrange(y, self.own.order)) - shift
        if lower is not None and upper is not None:
            width = torch.where(upper > lower, upper - lower, 1.0)
            ends = (end.expand(*z.shape[:-1], 1) for end in (lower, upper))
            steps = (torch.diff(z, prepend=next(ends), append=next(ends)) / width).clamp_min(margin).log()
            x = steps[..., :-1] - steps[..., -1:]
        elif upper is not None:
            x = softplus_inverse(torch.diff(z, append=upper.expand(*z.shape[:-1], 1)).clamp_min(margin))
        else:
            first = z[..., :1] if lower is None else softplus_inverse((z[..., :1] - lower).clamp_min(margin))
            x = torch.cat([first, softplus_inverse(torch.diff(z).clamp_min(margin))], -1)
        return restore(self._turned(x), self.own.order)

    def _turned(self, y: Tensor) -> Tensor:
        return y if self.own.fall is None else y.flip(-1)

    def _rising(self) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return bounds on a rising sequence, and the running sum of its least steps, which is to be added to it."""
        gaps = self.own.rise if self.own.fall is None else self.own.fall.flip(-1)
        shift = pad(gaps.cumsum(-1), (1, 0))
        upper = None if self.own.upper is None else self.own.upper - shift[..., -1:]
        return self.own.lower, upper, shift


@register_smooth_map(L2Ball)
class SmoothBall(SmoothMap):
    """``center + radius tanh(||x||) x / ||x||``."""

    @property
    def is_bijective(self) -> bool:
        return True

    def forward(self, raw: Tensor) -> Tensor:
        scaled = self.own.radius.unsqueeze(-1) * into_unit_ball(raw)
        return scaled if self.own.center is None else self.own.center + scaled

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        offset = y if self.own.center is None else y - self.own.center
        return out_of_unit_ball(offset / self.own.radius.clamp_min(_tiny(y)).unsqueeze(-1), margin)


@register_smooth_map(Ellipsoid)
class SmoothEllipsoid(SmoothMap):
    """The unit ball's map, with the axes stretched."""

    @property
    def is_bijective(self) -> bool:
        return True

    @classmethod
    def serves(cls, own: Ellipsoid) -> bool:
        return bool((own.weights > 0).all())

    def forward(self, raw: Tensor) -> Tensor:
        z = into_unit_ball(raw) * self._lengths
        return self.own.center + (z if self.own.axes is None else torch.einsum("...ij,...i->...j", self.own.axes, z))

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        offset = y - self.own.center
        z = offset if self.own.axes is None else torch.einsum("...ij,...j->...i", self.own.axes, offset)
        return out_of_unit_ball(z / self._lengths.clamp_min(_tiny(y)), margin)

    @property
    def _lengths(self) -> Tensor:
        return self.own.radius.unsqueeze(-1) / self.own.weights.sqrt()


def into_unit_ball(x: Tensor) -> Tensor:
    """Return ``tanh(||x||) x / ||x||``; at zero, by its series."""
    square = x.square().sum(-1, keepdim=True)
    near = square < 1e-8
    norm = torch.where(near, 1.0, square).sqrt()
    return x * torch.where(near, 1 - square / 3, torch.tanh(norm) / norm)


def out_of_unit_ball(y: Tensor, margin: float) -> Tensor:
    """Undo `into_unit_ball`, for points that are moved to the radius ``1 - margin`` where they are beyond it."""
    norm = y.norm(dim=-1, keepdim=True)
    safe = norm.clamp_min(_tiny(y))
    return y * torch.where(norm < 1e-4, 1 + norm.square() / 3, torch.atanh(safe.clamp_max(1 - margin)) / safe)


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
