"""Monotone sequences, with least steps and bounds."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.parametric.range import clamp, relative
from optlayers.parametric.symbolic import Affine, Data
from optlayers.recognition.block import Block, Vectors
from optlayers.recognition.chains import Chain, in_order, order_field, read_chain
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.search.pool_adjacent import isotonic_means


@register
@dataclass(frozen=True, eq=False)
class Isotonic(ClosedFormSet):
    """``{y : y[i + 1] - y[i] >= rise[i], y[0] >= lower, y[n - 1] <= upper}``, or the same with steps down.

    Subtracting the least steps' running sum `s` leaves a monotone sequence, found by pooling adjacent violators, with
    the same bounds ``[lower, upper - s[n - 1]]`` on each entry. Clamping the means is exact: the multipliers of the
    steps stay what they are, and each entry's bound takes up what clamping changes (Németh
    and Németh, "How to project onto the monotone nonnegative cone using pool adjacent violators type algorithms", 2012;
    Hu, "Maximum-likelihood estimation under bound restriction and order and uniform bound restrictions", 1997).

    Attributes
    ----------
    order : Tensor, shape (*batch, n), or None
        The entries along the sequence, as whole numbers; None for their own order.
    rise, fall : Tensor, shape (*batch, n - 1), or None
        One of them: the least steps up, or down. They may be negative.
    lower, upper : Tensor, shape (*batch, 1), or None
        Bounds on the smallest and on the largest entry, the two ends.
    """

    name = "monotone sequence"
    kernels = "isotonic"
    order: Tensor | None
    rise: Tensor | None
    fall: Tensor | None
    lower: Tensor | None
    upper: Tensor | None

    @staticmethod
    def constraints(
        x: cp.Variable,
        rise: Any = None,
        fall: Any = None,
        lower: Any = None,
        upper: Any = None,
        ends: bool = False,
        order: Any = None,
    ) -> list[cp.Constraint]:
        z = x if order is None else x[order]
        result = [cp.diff(z) >= rise] if rise is not None else [-cp.diff(z) >= fall]
        least, most = (z[0], z[-1]) if rise is not None else (z[-1], z[0])
        return result + (between(least, lower) + between(most, upper=upper) if ends else between(z, lower, upper))

    @classmethod
    def match(cls, block: Block) -> Vectors | None:
        if len(block.rows) < 2 or block.cones or block.auxiliary:
            return None
        chain = read_chain(block.rows, block.size)
        return None if chain is None else match_monotone(block, chain)

    @classmethod
    def label(cls, block: Block) -> str:
        fields = cls.match(block) or {}
        gaps = fields["rise"] if fields.get("rise") is not None else fields.get("fall")
        zero = gaps is not None and gaps.is_zero
        kind = "nondecreasing" if fields.get("rise") is not None else "nonincreasing"
        return f"{kind} sequence" if zero else f"{kind} sequence with least steps"

    def project(self, v: Tensor) -> Tensor:
        z, sign = arrange(v, self.order), 1.0
        lower, upper = self.lower, self.upper
        if self.fall is not None:
            z, sign = -z, -1.0
            lower, upper = (None if bound is None else -bound for bound in (upper, lower))
        shift = self._shift
        upper = None if upper is None else upper - shift[..., -1:]
        y = clamp(isotonic_means(z - shift), lower, upper) + shift
        return restore(sign * y, self.order)

    @property
    def _shift(self) -> Tensor:
        gaps = self.rise if self.fall is None else self.fall
        assert gaps is not None
        return pad(gaps.cumsum(-1), (1, 0))

    def checks(self) -> list[Check]:
        if self.lower is None or self.upper is None:
            return []
        span = self._shift[..., -1:]
        return [Check.one(relative(self.lower + span - self.upper, self.lower, self.upper, span).amax(-1))]

    def relaxed(self) -> "Isotonic":
        """Bounds that cross meet halfway; so do those on each entry, and then all steps are as they should be."""
        if self.lower is None or self.upper is None:
            return self
        box = Box(self.lower, self.upper).relaxed()
        return dataclasses.replace(self, lower=box.lower, upper=box.upper)

    @staticmethod
    def examples() -> Examples:
        gaps = np.array([0.3, -0.2, 0.0, 0.8])
        yield {"size": (5,), "rise": np.zeros(4)}
        yield {"size": (5,), "fall": gaps}
        yield {"size": (4,), "rise": gaps[:3], "order": [2, 0, 3, 1], "fixed": ("order",)}
        yield {"size": (6,), "rise": np.zeros(5), "lower": np.array(-0.5), "upper": np.array(1.0), "fixed": ("rise",)}
        yield {"size": (4,), "fall": np.zeros(3), "lower": np.array(0.0), "fixed": ("fall",)}
        yield {"size": (5,), "fall": gaps, "upper": np.array(0.7), "ends": True, "fixed": ("ends",)}
        yield {"size": (3,), "rise": gaps[:2], "lower": np.array(-0.1), "ends": True, "fixed": ("ends",)}


def match_monotone(block: Block, chain: Chain) -> Vectors | None:
    """Return the fields of a monotone sequence if a chain goes one way and its bounds are those of its ends.

    Where both ends are bounded, the set must be known not to be empty, or each entry have the same bounds: its
    least-infeasible points would be another set's otherwise.
    """
    gaps = chain.lower if chain.rises else chain.upper
    if gaps is None or not (chain.rises or chain.falls):
        return None
    gaps = gaps if chain.rises else -gaps
    least, most = in_order(block.lower, chain), in_order(block.upper, chain)
    if chain.falls:  # read it from its other end
        least, most = (None if b is None else b[::-1] for b in (least, most))
    low = None if least is None else _end(least, gaps if chain.rises else gaps[::-1], 1.0)
    high = None if most is None else _end(most, gaps if chain.rises else gaps[::-1], -1.0)
    if (least is not None and low is None) or (most is not None and high is None):
        return None
    if low is not None and high is not None and not _is_safe(least, most, low, high, gaps):
        return None
    return {
        "order": order_field(chain.order, block.parameters),
        "rise": gaps if chain.rises else None,
        "fall": gaps if chain.falls else None,
        "lower": low,
        "upper": high,
    }


def _end(bound: Data, gaps: Data, side: float) -> Data | None:
    """Return the bound on the end of a rising sequence if those on other entries follow from it."""
    end = np.array([0 if side > 0 else -1])
    if gaps.is_zero and bound.is_uniform:
        return bound[end]
    if not isinstance(bound, Affine):
        return None
    others = np.arange(len(bound.constant)) != end[0] % len(bound.constant)
    if not bound[others].is_constant or not np.isfinite(bound.constant[end]).all():
        return None
    levels = bound.constant * side
    if np.isneginf(levels[others]).all():
        return bound[end]
    if gaps.numbers is None or not bound.is_constant:
        return None
    shift = np.concatenate([[0.0], np.cumsum(gaps.numbers)])
    levels = levels - shift * side
    return bound[end] if bool((levels <= levels[end]).all()) else None


def _is_safe(least: Data | None, most: Data | None, low: Data, high: Data, gaps: Data) -> bool:
    """Whether the set is known not to be empty, or its entries have the same bounds."""
    numbers = [float(d.numbers.sum()) for d in (low, gaps, high) if d.numbers is not None]
    if len(numbers) == 3:
        return numbers[0] + numbers[1] <= numbers[2]
    return gaps.is_zero and all(bound is not None and bound.is_uniform for bound in (least, most))


def arrange(v: Tensor, order: Tensor | None) -> Tensor:
    """Return the entries along the sequence."""
    return v if order is None else _take(v, order.long())


def restore(y: Tensor, order: Tensor | None) -> Tensor:
    """Undo `arrange`."""
    return y if order is None else _take(y, order.long().argsort(-1))


def _take(v: Tensor, index: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(v.shape, index.shape)
    return v.expand(shape).gather(-1, index.expand(shape))
