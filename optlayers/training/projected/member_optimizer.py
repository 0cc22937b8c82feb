"""An optimizer whose own steps keep parameters in their sets."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optlayers.training.projected.members import members_of
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import Constraints

Member = tuple[Tensor, Tensor, dict[str, Any]]  # a parameter, its gradient, its group


class MemberOptimizer(Optimizer):
    """What such optimizers have in common: sets, the clock, the closure, the parameters that have a gradient.

    The (k+1)-th step ends in the sets of step k + 1; the clock, which it advances, is in the state dict.
    """

    def __init__(
        self, constraints: Mapping[Tensor, Constraints], defaults: dict[str, Any], clock: Clock | None = None
    ) -> None:
        self._sets = members_of(constraints, type(self).__name__)
        super().__init__(list(self._sets), defaults)
        self.clock = Clock() if clock is None else clock
        self.clock.attach(self)

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state, and that of the clock."""
        return super().state_dict() | {"clock": self.clock.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self.clock.load_state_dict(state_dict["clock"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Make one step; return the loss if there is a closure that computes it."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        members = [(p, p.grad, group) for group in self.param_groups for p in group["params"]]
        self._move([member for member in members if member[1] is not None])
        return loss

    @abstractmethod
    def _move(self, members: list[Member]) -> None:
        """Move the parameters that have a gradient."""
