"""The answer of a projection with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Solution:
    """A projection and its certificate, per sample.

    Attributes
    ----------
    value : Tensor or tuple of Tensor
        The nearest points, one tensor per variable.
    solved : Tensor of bool, shape (*batch,)
        Whether the sample has an answer: finite input, and a set that is not empty.
    violation : Tensor, shape (*batch,)
        The largest absolute residual of the constraints at `value`.
    distance : Tensor, shape (*batch,)
        The Euclidean distance between the point and `value`.
    method : str
        "closed_form" or "cvxpylayers".
    """

    value: Tensor | tuple[Tensor, ...]
    solved: Tensor
    violation: Tensor
    distance: Tensor
    method: str
