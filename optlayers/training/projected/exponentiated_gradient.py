"""Exponentiated gradients: mirror descent with the entropy, for weights on simplexes and their like."""

from collections.abc import Mapping

import torch
from torch import Tensor

from optlayers.oracles.entropy_projection import nearest_by_entropy
from optlayers.training.projected.member_optimizer import Member, MemberOptimizer
from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import Constraints


class ExponentiatedGradient(MemberOptimizer):
    """Multiply positive weights by ``exp(-lr * gradient)``, then take the nearest point in the Kullback-Leibler sense.

    On a simplex that is ``x <- total * softmax(log(x) - lr * gradient)``; the regret grows with the logarithm of the
    dimension (Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997).

    Parameters
    ----------
    constraints : dict of Parameter to (list of cvxpy.Constraint, FeasibleSet or ScheduledSet)
        Pieces of ``{x : 0 <= x <= upper, total_lower <= normal @ x <= total_upper}`` with a positive normal: simplexes
        of any total, capped and weighted ones, and boxes from zero. A variable's shape is the parameter's or that of
        its last dimensions. Parameters start positive, and are brought into their sets at once.
    lr : float
    clock : Clock, optional
        One that others read, too; it is attached to this optimizer.

    Raises
    ------
    ValueError
        If a set is another one, a shape does not fit, or a parameter does not start positive.
    """

    def __init__(
        self, constraints: Mapping[Tensor, Constraints], lr: float = 0.1, *, clock: Clock | None = None
    ) -> None:
        check_number("lr", lr, above=0.0)
        super().__init__(constraints, {"lr": lr}, clock)
        for number, parameter in enumerate(self._sets):
            if not bool((parameter > 0).all()):
                raise ValueError(
                    f"parameter {number} of ExponentiatedGradient has entries that are not positive, and would stay "
                    "zero: start inside the set, with nn.Parameter(torch.full(shape, 1 / n)) say"
                )
        with torch.no_grad():
            for parameter, scheduled_set in self._sets.items():
                parameter.copy_(nearest_by_entropy(scheduled_set.at(self.clock.steps), parameter.log()))

    def _move(self, members: list[Member]) -> None:
        for parameter, gradient, group in members:
            dtype, tiny = torch.promote_types(parameter.dtype, torch.float32), torch.finfo(parameter.dtype).tiny
            logarithm = parameter.to(dtype).clamp_min(tiny).log() - group["lr"] * gradient.to(dtype)
            parameter.copy_(nearest_by_entropy(self._sets[parameter].at(self.clock.steps + 1), logarithm))
