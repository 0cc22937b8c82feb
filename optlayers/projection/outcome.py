"""What becomes of points that are projected."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """Projected points, and what the iterative pieces say of each sample, ``(*batch,)``; None without such pieces."""

    value: Tensor  # (*batch, n)
    status: Tensor | None = None
    steps: Tensor | None = None
    violation: Tensor | None = None
    state: tuple[Tensor, ...] = ()  # one per iterative piece, to start from next time
    error: Tensor | None = None  # the general solver's relative KKT residual
