"""What becomes of points that are projected."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """Projected points ``(*batch, n)`` and what the iterative pieces say of each sample, None without such pieces.

    Attributes
    ----------
    value : Tensor, shape (*batch, n)
    status, steps : Tensor of int, shape (*batch,), or None
    violation : Tensor, shape (*batch,), or None
    error : Tensor, shape (*batch,), or None
        The general solver's relative KKT residual.
    state : tuple of Tensor
        One per iterative piece, to start from next time.
    """

    value: Tensor
    status: Tensor | None = None
    steps: Tensor | None = None
    violation: Tensor | None = None
    state: tuple[Tensor, ...] = ()
    error: Tensor | None = None
