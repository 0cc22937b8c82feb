"""The active bounds of chains of differences, ``lower <= y <= upper, low_step <= y[1:] - y[:-1] <= high_step``.

Dynamic programming along the chain (Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation",
2013, for its dual). The least cost of the first entries, as a function of the last of them, is convex and piecewise
quadratic. A step to the next entry cuts its derivative at the root, moves the left part by the least step, the right
part by the largest, and joins them by zero; then the line ``y - v[i]`` is added. So the knots left and right of the
root are two stacks, each moved as a whole, and finding the next root takes knots from one to the other. A knot keeps by
how much the slope turns there, a whole number, and how far the derivative leaps, where a bound has cut it. The way back
from the last entry then tells which steps are tight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.rows import for_rows

TIE = 16 * np.finfo(float).eps  # roots this close to a leap, relative to the data, are taken to be there


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
    n = v.shape[1]
    place, turn, leap = np.empty((2, 2 * n)), np.empty((2, 2 * n)), np.empty((2, 2 * n))
    maker = np.empty((2, 2 * n), dtype=np.int64)
    count, shift, bound, origin = np.zeros(2, np.int64), np.zeros(2), np.zeros(2), np.zeros(2, np.int64)
    slope, edge = np.ones(2), np.zeros(2)
    best, holder, via = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
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
                place[side, k], leap[side, k] = root - shift[side], edge[side]
                turn[side, k] = slope[1] if side else -slope[0]
                maker[side, k] = 2 * i - 2 + side
                count[side], shift[side], bound[side] = k + 1, shift[side] + step, bound[side] + step
            if lower[r, i] > bound[0]:
                bound[0], origin[0] = float(lower[r, i]), i
            if upper[r, i] < bound[1]:
                bound[1], origin[1] = float(upper[r, i]), i
            x = float(v[r, i])
            root, slope[:], edge[:], held, knot_maker = min(max(x, bound[0]), bound[1]), 1.0, 0.0, -1, -1
            side = -1
            near = 2 * tie if root == x else 0.0
            if count[1] > 0 and root > place[1, count[1] - 1] + shift[1] - near:
                side = 1
            elif count[0] > 0 and root < place[0, count[0] - 1] + shift[0] + near:
                side = 0
            elif root != x:
                held = 0 if root > x else 1
                edge[held], edge[1 - held] = np.inf, abs(root - x)
            if side >= 0:
                other, sign = 1 - side, 2.0 * side - 1.0
                behind, ahead, steepness = sign * bound[other], sign * bound[side], 1.0
                at = sign * (place[side, count[side] - 1] + shift[side])
                value = at - sign * x
                while True:
                    count[side] -= 1
                    k = count[side]
                    after, bend = value + leap[side, k], sign * turn[side, k]
                    if after == np.inf:
                        root, held, slope[:], edge[other], edge[side] = (
                            sign * ahead,
                            side,
                            steepness,
                            max(-value, 0.0),
                            after,
                        )
                        break
                    if leap[side, k] > 0 and at >= behind and after >= -2 * tie * (steepness + bend):
                        root, knot_maker, edge[other], edge[side] = (
                            sign * at,
                            maker[side, k],
                            max(-value, 0.0),
                            max(after, 0.0),
                        )
                        slope[other], slope[side] = steepness, steepness + bend
                        break
                    value, steepness = after, steepness + bend
                    j = count[other]
                    place[other, j], turn[other, j] = sign * at - shift[other], turn[side, k]
                    leap[other, j], maker[other, j] = leap[side, k], maker[side, k]
                    count[other] += 1
                    zero = at - value / steepness
                    following = sign * (place[side, k - 1] + shift[side]) if k > 0 else np.inf
                    close = max(zero, behind) >= following - 2 * tie
                    if max(zero, behind) <= min(following, ahead) and not close:
                        root, slope[:] = sign * max(zero, behind), steepness
                        if behind > zero:
                            held, edge[other], edge[side] = other, np.inf, value + steepness * (behind - at)
                        break
                    value, at = value + steepness * (min(following, ahead) - at), min(following, ahead)
                    if ahead <= following:
                        root, held, slope[:], edge[other], edge[side] = (
                            sign * ahead,
                            side,
                            steepness,
                            max(-value, 0.0),
                            np.inf,
                        )
                        break
            best[i], via[i] = root, knot_maker
            holder[i] = 2 * origin[held] + held if held >= 0 else -1
        i, y, due, free = n - 1, 0.0, -1, True
        while True:
            if free:
                y, due, free = best[i], via[i], False
                if holder[i] >= 0:
                    j, side = holder[i] // 2, holder[i] % 2
                    for k in range(j, i):
                        tight[r, k] = side + 1
                    pinned[r, j] = side + 1
                    i, y = j, float(upper[r, j] if side else lower[r, j])
            i -= 1
            if i < 0:
                break
            most, least = y - low_step[r, i], y - high_step[r, i]
            margin = tie if holder[i] >= 0 or via[i] >= 0 else 0.0
            if due >= 0 and i == due // 2:
                tight[r, i], free = due % 2 + 1, True
            elif best[i] >= (most / 2 + least / 2 if due >= 0 else most + margin):
                y, tight[r, i] = most, 1
            elif due >= 0 or best[i] <= least - margin:
                y, tight[r, i] = least, 2
            else:
                free = True
