"""The residuals of the Karush-Kuhn-Tucker conditions of a point and its multipliers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KKT:
    """How far parameters and multipliers are from a Karush-Kuhn-Tucker pair; all are zero exactly there.

    Attributes
    ----------
    stationarity : float
        The largest entry of the gradient of ``objective + sum of <multiplier, constraint>`` in the parameters.
    primal_feasibility : float
        The largest distance of a constraint's values to where they should be.
    dual_feasibility : float
        The largest negative multiplier of an inequality; for sets, how far a nearest feasible point moves when the
        multiplier, which should be normal there, is added and the sum projected.
    complementarity : float
        The largest product of a multiplier and a slack.
    """

    stationarity: float
    primal_feasibility: float
    dual_feasibility: float
    complementarity: float

    @property
    def largest(self) -> float:
        """The largest of the four."""
        return max(vars(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in vars(self).items())


def gradient_size(loss: Tensor, parameters: Iterable[Tensor] | Tensor) -> float:
    """Return the largest absolute entry of the gradient, and leave the graph and `grad` as they are."""
    wanted = [parameters] if isinstance(parameters, Tensor) else [p for p in parameters if p.requires_grad]
    if not wanted or not loss.requires_grad:
        raise ValueError("stationarity needs parameters that require gradients, and an objective that depends on them")
    gradients = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
    return largest([gradient for gradient in gradients if gradient is not None])


def largest(tensors: Sequence[Tensor]) -> float:
    """Return the largest absolute entry of all tensors, zero if there is none."""
    return max((float(t.detach().abs().max()) for t in tensors if t.numel()), default=0.0)
