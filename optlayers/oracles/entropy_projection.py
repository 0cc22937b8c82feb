"""The nearest point by the Kullback-Leibler divergence, ``argmin_y sum_i y_i log(y_i / z_i) - y_i + z_i``."""

import math

import torch
from torch import Tensor

from optlayers.cones.root_search import find_root
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.oracle import Oracle, ask
from optlayers.parametric.range import filled
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection

entropy_projection = Oracle(
    "projection by entropy onto",
    "It takes {x : 0 <= x <= upper, lower <= normal @ x <= upper} with normal > 0, and boxes from zero; for other sets "
    "take project_after_step or FrankWolfe.",
)
"""Asked of the logarithm of a positive point, ``(*batch, n)``."""


@torch.no_grad()
def nearest_by_entropy(feasible_set: FeasibleSet, logarithm: Tensor) -> Tensor:
    """Return ``argmin_y sum_i y_i log(y_i / z_i) - y_i + z_i`` over the set, given ``log(z)``; see `ask`."""
    return ask(entropy_projection, feasible_set, logarithm)


@entropy_projection.register(Box)
def _(box: Box, logarithm: Tensor) -> Tensor | None:
    if box.lower is None or bool(box.lower.any()):
        return None
    z = logarithm.exp()
    return z if box.upper is None else z.minimum(box.upper)


@entropy_projection.register(BoxSection)
def _(section: BoxSection, logarithm: Tensor) -> Tensor | None:
    """Solve ``normal @ min(upper, exp(logarithm - mu * normal)) = total`` for the multiplier."""
    positive = section.normal is None or bool((section.normal > 0).all())
    if section.lower is None or bool(section.lower.any()) or not positive:
        return None
    if section.normal is None and section.upper is None and section.total.is_fixed:
        return section.total.value.unsqueeze(-1) * logarithm.softmax(-1)
    normal, upper = filled(section.normal, 1.0, logarithm), filled(section.upper, torch.inf, logarithm)
    inside = logarithm.exp().minimum(upper)
    reached = (normal * inside).sum(-1)
    total = section.total.clamp(reached)
    data = (t.double() for t in (logarithm, normal, upper, total))
    return torch.where((reached == total).unsqueeze(-1), inside, _with_total(*data).to(logarithm.dtype))


def _with_total(logarithm: Tensor, normal: Tensor, upper: Tensor, total: Tensor) -> Tensor:
    """Return ``min(upper, exp(logarithm - mu * normal))`` with the total that is asked for.

    The logarithm of the total falls in `mu`. Where `mu` is highest, each entry would have at most an equal share of it;
    where it is lowest, one entry without bound has it alone, or all others are at their bounds.
    """
    tiny = torch.finfo(logarithm.dtype).tiny
    limit, level = upper.clamp_min(tiny).log(), total.clamp_min(tiny).log()
    alone = (logarithm + normal.log() - level.unsqueeze(-1)) / normal  # where the entry alone has the total
    highest = (alone + math.log(alone.shape[-1]) / normal).amax(-1)
    lowest = torch.where(limit.isinf(), alone, -torch.inf).amax(-1)
    lowest = torch.where(lowest.isfinite(), lowest, ((logarithm - limit) / normal).amin(-1))

    def newton(mu: Tensor) -> tuple[Tensor, Tensor]:
        free = logarithm - mu.unsqueeze(-1) * normal
        parts = normal * free.minimum(limit).exp()
        amount = parts.sum(-1)
        value = level - amount.log()
        return value, value * amount / (normal * parts * (free < limit)).sum(-1)

    mu = find_root(newton, lowest, highest)
    return (logarithm - mu.unsqueeze(-1) * normal).minimum(limit).exp()
