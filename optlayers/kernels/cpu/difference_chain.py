"""The active bounds of chains of differences, ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

Dynamic programming along the chain (Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation",
2013, for its dual). The least cost of the first entries, as a function of the last of them, is convex and piecewise
quadratic. A step to the next entry cuts its derivative at the root, moves the left part by the least step, the right
part by the largest, and joins them by zero; then the line ``y - v[i]`` is added. So the knots left and right of the
root are two stacks, each moved as a whole, and finding the next root takes knots from one to the other. A knot keeps by
how much the slope turns there, a whole number, and how far the derivative jumps, where a bound has cut it. The way back
from the last entry then tells which steps are tight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.rows import for_rows

TIE = 16 * np.finfo(float).eps  # roots this close to a jump, relative to the data, are taken to be there


def search(
    v: Tensor, lower: Tensor, upper: Tensor, low_step: Tensor, high_step: Tensor, interpreted: bool = False
) -> tuple[Tensor, Tensor]:
    """Return which steps are tight and which entries pinned, at their lower (1) or upper (2) bounds, or neither (0).

    A block of tight steps has at most one pinned entry. All data have the same number of rows, and are float64 on the
    CPU. The loop over rows is compiled, or `interpreted`.
    """
    tight = torch.zeros(low_step.shape, dtype=torch.int64)
    pinned = torch.zeros(v.shape, dtype=torch.int64)
    arrays = (t.contiguous().numpy() for t in (v, lower, upper, low_step, high_step))
    for_rows(_search, *arrays, tight.numpy(), pinned.numpy(), interpreted=interpreted)
    return tight, pinned


def _search(
    first: int,
    last: int,
    v: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    low_step: np.ndarray,
    high_step: np.ndarray,
    tight: np.ndarray,
    pinned: np.ndarray,
) -> None:
    # knots of the derivative left (0) and right (1) of the root: where, by how much the slope and the value change
    # there, and which step's bound made them (2 i + side of step i)
    n = v.shape[1]
    knot, bend_of, jump = np.empty((2, 2 * n)), np.empty((2, 2 * n)), np.empty((2, 2 * n))
    made_by = np.empty((2, 2 * n), dtype=np.int64)
    count, shift, bound, origin = np.zeros(2, np.int64), np.zeros(2), np.zeros(2), np.zeros(2, np.int64)
    slope, edge = np.ones(2), np.zeros(2)  # of the derivative, next to the root on both sides
    # for each entry the root, the bound that it is pinned at, the knot that it stands on; -1 for none
    best, pinned_by, kink = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    for r in range(first, last):
        count[:], shift[:], bound[0], bound[1] = 0, 0.0, -np.inf, np.inf
        root, size = 0.0, 0.0
        for i in range(n):
            if i > 0:
                for side in range(2):
                    step = float(high_step[r, i - 1] if side else low_step[r, i - 1])
                    shift[side] = 0.0 if np.isinf(step) else shift[side] + step
            size = max(size, abs(shift[0]), abs(shift[1]), abs(float(v[r, i])))
        tie, shift[:] = TIE * size, 0.0
        for i in range(n):
            for side in range(2 if i > 0 else 0):
                step = float(high_step[r, i - 1] if side else low_step[r, i - 1])
                if np.isinf(step):
                    count[side], shift[side], bound[side] = 0, 0.0, step
                    continue
                k = count[side]
                knot[side, k], jump[side, k] = root - shift[side], edge[side]
                bend_of[side, k] = slope[1] if side else -slope[0]
                made_by[side, k] = 2 * i - 2 + side
                count[side], shift[side], bound[side] = k + 1, shift[side] + step, bound[side] + step
            if lower[r, i] > bound[0]:
                bound[0], origin[0] = float(lower[r, i]), i
            if upper[r, i] < bound[1]:
                bound[1], origin[1] = float(upper[r, i]), i
            x = float(v[r, i])
            root, slope[:], edge[:], pin, root_by = min(max(x, bound[0]), bound[1]), 1.0, 0.0, -1, -1
            side = -1
            near = 2 * tie if root == x else 0.0
            if count[1] > 0 and root > knot[1, count[1] - 1] + shift[1] - near:
                side = 1
            elif count[0] > 0 and root < knot[0, count[0] - 1] + shift[0] + near:
                side = 0
            elif root != x:
                pin = 0 if root > x else 1
                edge[pin], edge[1 - pin] = np.inf, abs(root - x)
            if side >= 0:
                other, sign = 1 - side, 2.0 * side - 1.0
                behind, ahead, steepness = sign * bound[other], sign * bound[side], 1.0
                at = sign * (knot[side, count[side] - 1] + shift[side])
                value = at - sign * x
                while True:
                    count[side] -= 1
                    k = count[side]
                    after, bend = value + jump[side, k], sign * bend_of[side, k]
                    if after == np.inf:
                        root, pin, slope[:], edge[other], edge[side] = (
                            sign * ahead,
                            side,
                            steepness,
                            max(-value, 0.0),
                            after,
                        )
                        break
                    if jump[side, k] > 0 and at >= behind and after >= -2 * tie * (steepness + bend):
                        root, root_by, edge[other], edge[side] = (
                            sign * at,
                            made_by[side, k],
                            max(-value, 0.0),
                            max(after, 0.0),
                        )
                        slope[other], slope[side] = steepness, steepness + bend
                        break
                    value, steepness = after, steepness + bend
                    j = count[other]
                    knot[other, j], bend_of[other, j] = sign * at - shift[other], bend_of[side, k]
                    jump[other, j], made_by[other, j] = jump[side, k], made_by[side, k]
                    count[other] += 1
                    zero = at - value / steepness
                    following = sign * (knot[side, k - 1] + shift[side]) if k > 0 else np.inf
                    close = max(zero, behind) >= following - 2 * tie
                    if max(zero, behind) <= min(following, ahead) and not close:
                        root, slope[:] = sign * max(zero, behind), steepness
                        if behind > zero:
                            pin, edge[other], edge[side] = other, np.inf, value + steepness * (behind - at)
                        break
                    value, at = value + steepness * (min(following, ahead) - at), min(following, ahead)
                    if ahead <= following:
                        root, pin, slope[:], edge[other], edge[side] = (
                            sign * ahead,
                            side,
                            steepness,
                            max(-value, 0.0),
                            np.inf,
                        )
                        break
            best[i], kink[i] = root, root_by
            pinned_by[i] = 2 * origin[pin] + pin if pin >= 0 else -1
        i, y, next_tight, free = n - 1, 0.0, -1, True
        while True:
            if free:
                y, next_tight, free = best[i], kink[i], False
                if pinned_by[i] >= 0:
                    j, side = pinned_by[i] // 2, pinned_by[i] % 2
                    for k in range(j, i):
                        tight[r, k] = side + 1
                    pinned[r, j] = side + 1
                    i, y = j, float(upper[r, j] if side else lower[r, j])
            i -= 1
            if i < 0:
                break
            most, least = y - low_step[r, i], y - high_step[r, i]
            margin = tie if pinned_by[i] >= 0 or kink[i] >= 0 else 0.0
            if next_tight >= 0 and i == next_tight // 2:
                tight[r, i], free = next_tight % 2 + 1, True
            elif best[i] >= (most / 2 + least / 2 if next_tight >= 0 else most + margin):
                y, tight[r, i] = most, 1
            elif next_tight >= 0 or best[i] <= least - margin:
                y, tight[r, i] = least, 2
            else:
                free = True
