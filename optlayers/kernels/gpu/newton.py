"""The root of a monotone, piecewise linear function of one variable: Newton's method, kept in a bracket."""

import triton
import triton.language as tl

BISECTION_PERIOD = tl.constexpr(4)


@triton.jit
def epsilon(ACC: tl.constexpr):
    """Return the spacing of floating-point numbers at one."""
    return 2.220446049250313e-16 if tl.float64 == ACC else 1.1920928955078125e-07


@triton.jit
def next_step(x, value, slope, rounding, least_move, left, right, first, last, step):
    """Return Newton's step, the middle of the bracket, whether to go there, whether to stop here, and the bracket.

    The function falls, its root is between `first` and `last`; `slope` is the positive one of its opposite. Every so
    many steps the bracket is halved, so that no data make the method slow. The last step may still be taken.
    """
    left = tl.where(value >= 0, x, left)
    right = tl.where(value <= 0, x, right)
    move = tl.where(slope > 0, value / tl.where(slope > 0, slope, 1.0), 0.0)
    still = (slope > 0) & (tl.abs(move) <= least_move)
    done = (tl.abs(value) <= rounding) | still | (left >= right) | (value != value)
    both = (left > -float("inf")) & (right < float("inf"))
    halve = (slope <= 0) | (x + move < left) | (x + move > right) | (both & (step % BISECTION_PERIOD == 0))
    halve = halve & (done == 0)
    middle = tl.maximum(left, first) / 2 + tl.minimum(right, last) / 2
    return move, middle, halve, done | (halve & (middle == x)), left, right
