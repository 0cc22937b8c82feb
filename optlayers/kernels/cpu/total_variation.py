"""Blocks of the nearest points of bounded total variation, row by row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optlayers.kernels.cpu.rows import for_rows


def search(v: Tensor, radius: Tensor, interpreted: bool = False) -> tuple[Tensor, Tensor]:
    """Return the position of each entry's block's first one, and the signs of the steps between blocks, else 0.

    Inside the set, each entry is a block of its own, and no step has a sign. The loop over rows is compiled, or
    `interpreted`.
    """
    rows, n = v.shape
    starts, sign = torch.empty((rows, n), dtype=torch.int64), torch.zeros((rows, n - 1), dtype=torch.int64)
    for_rows(
        _search,
        v.contiguous().numpy(),
        radius.contiguous().numpy(),
        starts.numpy(),
        sign.numpy(),
        interpreted=interpreted,
    )
    return starts, sign


def _search(
    first_row: int, last_row: int, v: np.ndarray, radius: np.ndarray, starts: np.ndarray, sign: np.ndarray
) -> None:
    """Newton's method for the multiplier, the blocks of each step being entries of the next one.

    The total variation is a convex, decreasing, piecewise linear function of the multiplier, so that the steps fall
    short of the root until the last one meets it. Each step takes the proximal map of the total variation, by dynamic
    programming (Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation", 2013).
    """
    n = v.shape[1]
    mean, mass, first = np.empty(n), np.empty(n), np.empty(n + 1, dtype=np.int64)
    low, high = np.empty(n), np.empty(n)
    knot, bend = np.empty(2 * n + 2), np.empty(2 * n + 2)
    for r in range(first_row, last_row):
        total = 0.0
        for i in range(n - 1):
            total += abs(float(v[r, i + 1]) - float(v[r, i]))
        if total < radius[r]:
            for i in range(n):
                starts[r, i] = i
            continue
        for i in range(n):
            mean[i], mass[i], first[i] = float(v[r, i]), 1.0, i
        blocks, start = n, True
        while True:
            before, blocks = blocks, 0
            for k in range(before):  # merge equal neighbours
                if blocks > 0 and mean[k] == mean[blocks - 1]:
                    mass[blocks - 1] += mass[k]
                else:
                    mean[blocks], mass[blocks], first[blocks] = mean[k], mass[k], first[k]
                    blocks += 1
            if blocks == 1 or (blocks == before and not start):
                break
            start = False
            total, slope, event = 0.0, 0.0, np.inf
            left, rate = 0.0, 0.0
            for k in range(blocks):
                right = np.sign(mean[k + 1] - mean[k]) if k + 1 < blocks else 0.0
                old, rate = rate, (right - left) / mass[k]
                slope += rate * (right - left)
                if k > 0:
                    total += abs(mean[k] - mean[k - 1])
                    closing = left * (old - rate)
                    if closing > 0:
                        event = min(event, abs(mean[k] - mean[k - 1]) / closing)
                left = right
            step = (total - radius[r]) / slope
            if step < event:
                break
            a = b = n
            for k in range(blocks):
                x, w = mean[k], mass[k]
                last = k == blocks - 1
                target = 0.0 if last else -step
                left_slope = w
                value = -step if k > 0 else np.inf  # the derivative at `x`, left of all knots
                if k == 0:
                    low[0] = x - step / w
                elif a == b or w * (knot[a] - x) + value >= target:
                    low[k] = x + (target - value) / w
                else:
                    at = knot[a]
                    value += w * (at - x)
                    while True:
                        left_slope += bend[a]
                        a += 1
                        low[k] = at + (target - value) / left_slope
                        if a == b or low[k] <= knot[a]:
                            break
                        value += left_slope * (knot[a] - at)
                        at = knot[a]
                if last:
                    break
                right_slope = w
                if k == 0:
                    high[0] = x + step / w
                elif a == b or x >= knot[b - 1]:
                    high[k] = x
                else:
                    at = knot[b - 1]
                    value = w * (at - x)
                    while True:
                        right_slope -= bend[b - 1]
                        b -= 1
                        high[k] = at - value / right_slope
                        if a == b or high[k] >= knot[b - 1]:
                            break
                        value += right_slope * (knot[b - 1] - at)
                        at = knot[b - 1]
                a, b = a - 1, b + 1
                knot[a], bend[a] = low[k], left_slope
                knot[b - 1], bend[b - 1] = high[k], -right_slope
            mean[blocks - 1] = low[blocks - 1]
            for k in range(blocks - 2, -1, -1):
                mean[k] = min(max(mean[k + 1], low[k]), high[k])
        first[blocks] = n
        for k in range(blocks):
            for i in range(first[k], first[k + 1]):
                starts[r, i] = first[k]
            if k > 0:
                sign[r, first[k] - 1] = 1 if mean[k] > mean[k - 1] else -1
