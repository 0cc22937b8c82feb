"""What may become of a sample."""

from enum import IntEnum

import torch
from torch import Tensor


class Status(IntEnum):
    """What became of a sample."""

    SOLVED = 0
    INFEASIBLE = 1
    """The set is empty for the sample's parameters, or the reference method found no point of it."""
    INVALID = 2
    """The point or a parameter is NaN or infinite."""
    UNSOLVED = 3
    """The general solver neither reached its accuracy nor found the set to be empty, or numbers overflow."""


def worst(statuses: Tensor) -> Tensor:
    """Return the status of the whole from those of its parts, in the last dimension: one empty part makes it empty."""
    if statuses.shape[-1] == 1:
        return statuses.squeeze(-1)
    infeasible = (statuses == int(Status.INFEASIBLE)).any(-1)
    return torch.where(infeasible, int(Status.INFEASIBLE), statuses.amax(-1))
