"""The logarithmic barrier of slacks."""

import math
from typing import Literal

import torch
from torch import Tensor

Outside = Literal["raise", "inf", "extend"]


def log_barrier(slack: Tensor, weight: float, outside: Outside) -> Tensor:
    """Return ``-weight log(slack)``, entry by entry.

    Parameters
    ----------
    slack : Tensor
        Positive strictly inside.
    weight : positive float
    outside : {"raise", "inf", "extend"}
        What entries do that are not positive: raise ValueError; become infinite, with gradients that are zero, for a
        line search that rejects such values (torch's LBFGS interpolates instead, and needs "extend"); or follow the
        tangent at ``slack = weight^2`` from there on, which is finite everywhere (Kervadec, Dolz, Yuan, Desrosiers,
        Granger, Ben Ayed, Constrained deep networks: Lagrangian optimization via log-barrier extensions, 2019).
    """
    if outside == "extend":
        corner = weight**2
        tangent = weight - slack / weight - weight * math.log(corner)
        return torch.where(slack >= corner, -weight * slack.clamp_min(corner).log(), tangent)
    inside = slack > 0
    if outside == "raise" and not bool(inside.all()):
        worst = float(slack.detach().min())
        raise ValueError(
            f"the log barrier needs a strictly feasible point: {int((~inside).sum())} of {slack.numel()} slacks are "
            f"not positive, the smallest is {worst:.3g}. Start inside (at the projection onto a smaller set, say) "
            'and take smaller steps, or pass outside="extend" or "inf"'
        )
    return torch.where(inside, -weight * torch.where(inside, slack, 1.0).log(), torch.inf)
