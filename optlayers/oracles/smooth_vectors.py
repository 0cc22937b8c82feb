"""Smooth maps onto boxes, half-spaces, affine sets, monotone sequences, balls and ellipsoids."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from optlayers.oracles.smooth_bounds import finite_bounds, into_bounds, out_of_bounds, softplus, softplus_inverse
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
    def is_bijective(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] asked of values
        return self.bound.lower is None or self.bound.upper is None or bool((self.bound.lower < self.bound.upper).all())

    def forward(self, raw: Tensor) -> Tensor:
        return into_bounds(raw, self.bound.lower, self.bound.upper)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return out_of_bounds(y, self.bound.lower, self.bound.upper, margin)

    def log_abs_det(self, raw: Tensor) -> Tensor:
        low, has_low, high, has_high = finite_bounds(raw, self.bound.lower, self.bound.upper)
        width = torch.where(has_low & has_high, high - low, 1.0)
        slope = torch.where(has_low, logsigmoid(raw), 0.0) + torch.where(has_high, logsigmoid(-raw), 0.0)
        return (slope + width.log()).sum(-1)


@register_smooth_map(Slab)
@register_smooth_map(AffineSet)
class SmoothAffine(SmoothMap):
    """The projection onto an affine set, a hyperplane, which is linear."""

    def forward(self, raw: Tensor) -> Tensor:
        return self.bound.project(raw)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        return y


@register_smooth_map(Slab)
class SmoothSlab(SmoothMap):
    """Only the component along the unit normal is mapped, into its bounds."""

    is_bijective = True

    def __init__(self, bound: Slab) -> None:
        super().__init__(bound)
        length = bound.normal.norm(dim=-1)
        self.normal = bound.normal / length.unsqueeze(-1)
        self.level = bound.level.map(lambda level: level / length)

    @classmethod
    def serves(cls, bound: Slab) -> bool:
        return not bound.level.is_fixed

    def forward(self, raw: Tensor) -> Tensor:
        x = (self.normal * raw).sum(-1)
        return self._moved(raw, into_bounds(x, self.level.lower, self.level.upper) - x)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        x = (self.normal * y).sum(-1)
        return self._moved(y, out_of_bounds(x, self.level.lower, self.level.upper, margin) - x)

    def _moved(self, y: Tensor, change: Tensor) -> Tensor:
        return y + self.normal * change.unsqueeze(-1)


@register_smooth_map(Isotonic)
class SmoothIsotonic(SmoothMap):
    """An end, and cumulative softplus of steps; between two bounds, cumulative softmax of ``n + 1`` steps, one fixed.

    Entries of a falling sequence are taken from its last to its first. A sequence that is bounded above only is taken
    from its last to its first, and negated.
    """

    is_bijective = True

    def __init__(self, bound: Isotonic) -> None:
        super().__init__(bound)
        self.lower, upper, self.sign = bound.lower, bound.upper, 1.0
        if self.lower is None and upper is not None:
            self.lower, upper, self.sign = -upper, None, -1.0
        self.is_flipped = (bound.fall is None) == (self.sign < 0)
        gaps = bound.rise if bound.fall is None else bound.fall
        assert gaps is not None
        self.shift = pad(self._flip(gaps).cumsum(-1), (1, 0))  # what the least steps add up to
        self.width = None if self.lower is None or upper is None else upper - self.shift[..., -1:] - self.lower

    def forward(self, raw: Tensor) -> Tensor:
        x = self._flip(arrange(raw, self.bound.order))
        if self.lower is not None and self.width is not None:
            z = self.lower + self.width * torch.softmax(pad(x, (0, 1)), -1)[..., :-1].cumsum(-1)
        else:
            z = torch.cat([into_bounds(x[..., :1], self.lower, None), softplus(x[..., 1:])], -1).cumsum(-1)
        return restore(self.sign * self._flip(z + self.shift), self.bound.order)

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        z = self._flip(self.sign * arrange(y, self.bound.order)) - self.shift
        if self.lower is not None and self.width is not None:
            share = (z - self.lower) / torch.where(self.width > 0, self.width, 1.0)
            steps = torch.diff(pad(pad(share, (1, 0)), (0, 1), value=1.0)).clamp_min(margin).log()
            x = steps[..., :-1] - steps[..., -1:]
        else:
            steps = softplus_inverse(torch.diff(z).clamp_min(margin))
            x = torch.cat([out_of_bounds(z[..., :1], self.lower, None, margin), steps], -1)
        return restore(self._flip(x), self.bound.order)

    def _flip(self, y: Tensor) -> Tensor:
        return y.flip(-1) if self.is_flipped else y


@register_smooth_map(L2Ball)
class SmoothBall(SmoothMap):
    """``center + axes' (lengths * tanh(||x||) x / ||x||)``, with the axes of an ellipsoid and their lengths."""

    is_bijective = True

    def __init__(self, bound: L2Ball | Ellipsoid) -> None:
        super().__init__(bound)
        radius = bound.radius.unsqueeze(-1)
        self.lengths = radius / bound.weights.sqrt() if isinstance(bound, Ellipsoid) else radius
        self.axes = bound.axes if isinstance(bound, Ellipsoid) else None

    def forward(self, raw: Tensor) -> Tensor:
        z = self.lengths * into_unit_ball(raw)
        z = z if self.axes is None else torch.einsum("...ij,...i->...j", self.axes, z)
        return z if self.bound.center is None else self.bound.center + z

    def inverse(self, y: Tensor, margin: float) -> Tensor:
        offset = y if self.bound.center is None else y - self.bound.center
        z = offset if self.axes is None else torch.einsum("...ij,...j->...i", self.axes, offset)
        return out_of_unit_ball(z / self.lengths.clamp_min(torch.finfo(y.dtype).tiny), margin)


@register_smooth_map(Ellipsoid)
class SmoothEllipsoid(SmoothBall):
    """The ball's map, with the axes stretched."""

    @classmethod
    def serves(cls, bound: Ellipsoid) -> bool:
        return bool((bound.weights > 0).all())


def into_unit_ball(x: Tensor) -> Tensor:
    """Return ``tanh(||x||) x / ||x||``; at zero, by its series."""
    square = x.square().sum(-1, keepdim=True)
    near = square < 1e-8
    norm = torch.where(near, 1.0, square).sqrt()
    return x * torch.where(near, 1 - square / 3, torch.tanh(norm) / norm)


def out_of_unit_ball(y: Tensor, margin: float) -> Tensor:
    """Undo `into_unit_ball`, for points that are moved to the radius ``1 - margin`` where they are beyond it."""
    norm = y.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(y.dtype).tiny
    ratio = torch.atanh(norm.clamp(tiny, 1 - margin)) / norm.clamp_min(tiny)
    return y * torch.where(norm < 1e-4, 1 + norm.square() / 3, ratio)
