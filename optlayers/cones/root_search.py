"""The root of an increasing function of one variable, for many samples at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced

_MOST_STEPS = 200
_TRACED_STEPS = 60  # where values cannot be looked at


def find_root(function: Callable[[Tensor], tuple[Tensor, ...]], lower: Tensor, upper: Tensor) -> Tensor:
    """Return the root between `lower` and `upper`, ``(*batch,)``; the end next to it where rounding moved it out.

    Newton's method in a bracket, which is halved where a step leaves it or is longer than half the last but one (Press,
    Teukolsky, Vetterling and Flannery, "Numerical Recipes", section 9.4). The function takes points ``(*batch,)`` to
    values, which are logarithms of ratios, and to one or more Newton's steps, of different forms of the equation: the
    first one that can be taken is. A step that is not finite cannot.
    """
    eps = torch.finfo(lower.dtype).eps
    x = lower / 2 + upper / 2
    last = before = upper - lower
    done = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(_TRACED_STEPS if is_traced() else _MOST_STEPS):
        value, *steps = function(x)
        done = done | (value.abs() <= 4 * eps)
        lower, upper = torch.where(value <= 0, x, lower), torch.where(value >= 0, x, upper)
        target, near = lower / 2 + upper / 2, 64 * eps * x.abs().clamp_min(1.0)
        is_newton = torch.zeros_like(done)
        for step in reversed(steps):
            newton = x - step
            inside = newton.clamp(lower, upper)
            accepted = ((newton - inside).abs() <= near) & (2 * step.abs() <= before)
            target, is_newton = torch.where(accepted, inside, target), is_newton | accepted
        before, last = last, (target - x).abs()
        x = torch.where(done, x, target)
        # a step of Newton's method this short leads to an error of the order of its square, or of rounding
        done = done | (last <= torch.where(is_newton, near, near / 32))
        if not is_traced() and bool(done.all()):
            break
    return x
