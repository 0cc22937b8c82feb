"""Exponentiated gradients: mirror descent with the entropy, for weights on simplexes and their like."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.training.projected.member_optimizer import MemberOptimizer
from optlayers.training.projected.members import members_of
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet

_HALVINGS = 100


class ExponentiatedGradient(MemberOptimizer):
    """Multiply positive weights by ``exp(-lr * gradient)``, then take the nearest point in the Kullback-Leibler sense.

    On a simplex that is ``x <- total * softmax(log(x) - lr * gradient)``; the regret grows with the logarithm of the
    dimension (Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997).

    Parameters
    ----------
    constraints : dict of Parameter to (list of cvxpy.Constraint, FeasibleSet or ScheduledSet)
        Pieces of ``{x : 0 <= x <= upper, least <= normal @ x <= most}`` with a positive normal: simplexes
        of any total, capped and weighted ones, and boxes from zero. A variable's shape is the parameter's or that of
        its last dimensions. Parameters start positive, and are brought into their sets at once.
    lr : float

    Raises
    ------
    ValueError
        If a set is another one, a shape does not fit, or a parameter does not start positive.
    """

    def __init__(self, constraints: Mapping[Tensor, Constraints | ScheduledSet], lr: float = 0.1) -> None:
        if not lr > 0:
            raise ValueError(f"expected lr > 0, got {lr}")
        self._sets = members_of(constraints, "ExponentiatedGradient")
        for number, parameter in enumerate(self._sets):
            if not bool((parameter > 0).all()):
                raise ValueError(
                    f"parameter {number} of ExponentiatedGradient has entries that are not positive, and would stay "
                    "zero: start inside the set, with nn.Parameter(torch.full(shape, 1 / n)) say"
                )
        super().__init__(list(self._sets), {"lr": lr})
        with torch.no_grad():
            for parameter, moving in self._sets.items():
                parameter.copy_(nearest_by_entropy(moving.at(0), parameter.log()))

    def _move(self, members: list[tuple[Tensor, dict[str, Any]]]) -> None:
        for parameter, group in members:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            state["step"] = state.get("step", 0) + 1
            own = torch.promote_types(parameter.dtype, torch.float32)
            tiny = torch.finfo(parameter.dtype).tiny
            logarithm = parameter.to(own).clamp_min(tiny).log() - group["lr"] * gradient.to(own)
            parameter.copy_(nearest_by_entropy(self._sets[parameter].at(state["step"]), logarithm))


@torch.no_grad()
def nearest_by_entropy(feasible_set: FeasibleSet, logarithm: Tensor) -> Tensor:
    """Return ``argmin_y sum_i y_i log(y_i / z_i) - y_i + z_i`` over the set, given ``log(z)``.

    Parameters
    ----------
    feasible_set : FeasibleSet
        On one variable; see `ExponentiatedGradient` for which.
    logarithm : Tensor, shape (*batch, *variable.shape)

    Raises
    ------
    ValueError
        For another set, or logarithms that are not finite.
    """
    flat, bound = feasible_set.prepare(logarithm)
    if not bound.is_sound(flat):
        feasible_set.project(logarithm)  # says what is wrong
        raise ValueError("exponentiated gradients need finite gradients and sets that are not empty")
    y = bound.map_pieces(nearest, flat)
    if y is None:
        raise ValueError(
            "ExponentiatedGradient takes {x : 0 <= x <= upper, normal @ x == total}, normal > 0, and boxes from zero; "
            f"for other sets take project_after_step or FrankWolfe. This one is\n{feasible_set.explain()}"
        )
    return y.expand(flat.shape).reshape(logarithm.shape).to(logarithm.dtype)


@functools.singledispatch
def nearest(own: ClosedFormSet | Tied, e: Tensor) -> Tensor | None:
    """Return the nearest point of a set to ``exp(e)``, shape ``(*batch, n)``; None for sets that have no formula."""
    return None


@nearest.register
def _(own: Box, e: Tensor) -> Tensor | None:
    if own.lower is None or bool(own.lower.any()):
        return None
    return e.exp() if own.upper is None else e.exp().minimum(own.upper)


@nearest.register
def _(own: BoxSection, e: Tensor) -> Tensor | None:
    """Solve ``normal @ min(upper, exp(e - mu * normal)) = total`` for the multiplier, by halving a bracket."""
    positive = own.normal is None or bool((own.normal > 0).all())
    if own.lower is None or bool(own.lower.any()) or not positive:
        return None
    if own.normal is None and own.upper is None and own.total.is_fixed:
        return own.total.value.unsqueeze(-1) * e.softmax(-1)
    normal = torch.ones_like(e) if own.normal is None else own.normal
    upper = torch.full_like(e, torch.inf) if own.upper is None else own.upper
    free = (normal * e.exp().minimum(upper)).sum(-1)
    total = own.total.clamp(free)
    tied = _with_total(e.double(), normal.double(), upper.double(), total.double().unsqueeze(-1)).to(e.dtype)
    return torch.where((free == total).unsqueeze(-1), e.exp().minimum(upper), tied)


def _with_total(e: Tensor, normal: Tensor, upper: Tensor, total: Tensor) -> Tensor:
    limit = upper.clamp_min(torch.finfo(e.dtype).tiny).log()
    level = total.clamp_min(torch.finfo(e.dtype).tiny).log()
    reach = (e + normal.log() - level) / normal  # at this multiplier the entry alone has the total
    high = (reach + torch.tensor(float(e.shape[-1])).log() / normal).amax(-1, keepdim=True)
    saturated = ((e - limit) / normal).amin(-1, keepdim=True)  # no multiplier below changes anything
    single = torch.where(limit.isinf(), reach, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(single.isfinite(), single, saturated)
    for _ in range(_HALVINGS):
        middle = low / 2 + high / 2
        above = (normal * (e - middle * normal).minimum(limit).exp()).sum(-1, keepdim=True) > total
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (e - high * normal).minimum(limit).exp()
