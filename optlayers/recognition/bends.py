"""Auxiliary entries above functions of one entry that bend once: absolute values, positive and negative parts."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block
from optlayers.recognition.epigraphs import Cuts

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Bends:
    """Functions ``shift + above * pos(y_entry - center) + below * neg(y_entry - center)``, one for each of `members`.

    These are auxiliary entries; `above` and `below` are not negative.
    """

    members: np.ndarray
    entry: np.ndarray
    above: np.ndarray
    below: np.ndarray
    center: Affine
    shift: Affine


def read_bends(block: Block, cuts: Cuts) -> Bends | None:
    """Join cuts in pairs, of a rising and a falling one, or of one and a bound on the auxiliary entry."""
    if not cuts.slope.is_constant or (cuts.slope.constant == 0).any():
        return None
    floor = read_floor(block)
    members = np.unique(cuts.auxiliary)
    rising, falling = (_places(cuts, sign * cuts.slope.constant > 0, members) for sign in (1.0, -1.0))
    if floor is None or rising is None or falling is None:
        return None
    both = (rising >= 0) & (falling >= 0)
    first = np.where(rising >= 0, rising, falling)  # it is joined with `falling`, or with the floor
    second = np.where(both, falling, len(cuts.entry))
    bound = floor[members]
    bounded = np.isfinite(bound.constant) | bound.is_parametric
    if (cuts.entry[first] != np.append(cuts.entry, -1)[second])[both].any() or not (both | bounded).all():
        return None
    slope = cuts.slope.constant[first]
    other = np.where(both, np.append(cuts.slope.constant, 0.0)[second], 0.0)
    level = _choose(both, cuts.offset[np.where(both, falling, 0)], bound)
    center = (level - cuts.offset[first]).scaled(1 / (slope - other))
    shift = _choose(both, add(cuts.offset[first], center.scaled(slope)), bound)
    idle = bound.constant <= shift.constant + _TOLERANCE * (1 + np.abs(shift.constant))
    idle &= ~bound.is_parametric & (~shift.is_parametric | ~bounded)
    if (both & bounded & ~idle).any():
        return None
    above, below = np.maximum(slope, other), -np.minimum(slope, other)
    return Bends(members, cuts.entry[first], np.maximum(above, 0.0), np.maximum(below, 0.0), center, shift)


def _places(cuts: Cuts, chosen: np.ndarray, members: np.ndarray) -> np.ndarray | None:
    """Return for each member its only chosen cut, or -1; None where one has several."""
    result = np.full(len(members), -1)
    member = np.searchsorted(members, cuts.auxiliary[chosen, 0])
    result[member] = np.flatnonzero(chosen)
    return result if len(np.unique(member)) == len(member) else None


def read_floor(block: Block) -> Affine | None:
    """Return the lower bounds of the auxiliary entries, -inf for none; None where entries of ``y`` are bounded."""
    size = block.size + block.auxiliary
    lower = Affine.of(np.full(size, -np.inf), block.parameters) if block.lower is None else block.lower
    if not isinstance(lower, Affine) or lower.is_parametric[: block.size].any():
        return None
    return lower[block.size :] if np.isneginf(lower.constant[: block.size]).all() else None


def _choose(condition: np.ndarray, one: Affine, other: Affine) -> Affine:
    """Return entries of one map or another."""
    where, elsewhere = sp.diags_array(condition.astype(float)), sp.diags_array((~condition).astype(float))
    linear = sp.csr_array(where @ one.linear + elsewhere @ other.linear)
    return Affine(np.where(condition, one.constant, other.constant), linear)


def add(one: Affine, other: Affine) -> Affine:
    """Add, and remove what cancels to rounding."""
    constant = one.constant + other.constant
    zero = np.abs(constant) <= _TOLERANCE * (np.abs(one.constant) + np.abs(other.constant))
    constant = np.where(zero, 0.0, constant)
    if one.is_constant and other.is_constant:
        return Affine.of(constant, one.parameters)
    linear = sp.csr_array(one.linear + other.linear).tocoo()
    size = sp.csr_array(abs(one.linear) + abs(other.linear))[linear.row, linear.col]
    keep = np.abs(linear.data) > _TOLERANCE * np.asarray(size).ravel()
    kept = (linear.data[keep], (linear.row[keep], linear.col[keep]))
    return Affine(constant, sp.csr_array(kept, shape=linear.shape))
