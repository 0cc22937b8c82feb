"""An optimizer whose parameters are held to sets by its steps themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class MemberOptimizer(Optimizer):
    """What steps have in common: the closure, and the parameters that have a gradient."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step; return the loss if there is a closure that computes it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [(parameter, group) for group in self.param_groups for parameter in group["params"]]
        self._move([(parameter, group) for parameter, group in pairs if parameter.grad is not None])
        return loss

    @abstractmethod
    def _move(self, members: list[tuple[Tensor, dict[str, Any]]]) -> None:
        """Move the parameters, each given with its group."""
