"""The step of a training: one number that all schedules are read at."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer


class Clock:
    """How many steps the optimizer has made; what is scheduled reads it.

    The rule is one: after k steps of the optimizer, and until the next one, every set, level, weight and temperature
    is that of step k. What is given no clock has one of its own, which its `step` advances, once for each step of
    the optimizer. A clock that is given to several is advanced by none of them: attach it to the optimizer, or call
    `step` after the optimizer's and before theirs.

    Parameters
    ----------
    optimizer : Optimizer, optional
        Whose steps are counted, see `attach`.

    Attributes
    ----------
    steps : int

    Notes
    -----
    A copy, and what `pickle` gives back, is attached to no optimizer.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> clock = Clock(optimizer)
    >>> optimizer.step()
    >>> clock.steps
    1
    """

    def __init__(self, optimizer: Optimizer | None = None) -> None:
        self.steps = 0
        self._optimizer: Optimizer | None = None
        self._hook: Any = None
        if optimizer is not None:
            self.attach(optimizer)

    def attach(self, optimizer: Optimizer) -> None:
        """Count the steps of an optimizer from now on, but those that a `GradScaler` skips.

        Raises ValueError if the clock counts the steps of another one.
        """
        if self._optimizer is optimizer:
            return
        if self._optimizer is not None:
            raise ValueError(
                f"this clock counts the steps of another {type(self._optimizer).__name__}: detach() it first, or give "
                "each optimizer a clock of its own"
            )
        self._optimizer, self._hook = optimizer, optimizer.register_step_post_hook(self._count)

    def detach(self) -> None:
        """Count no longer; `step` may then be called by hand."""
        if self._hook is not None:
            self._hook.remove()
        self._optimizer = self._hook = None

    def step(self) -> None:
        """Count a step by hand; raise RuntimeError if the clock is attached to an optimizer, which counts already."""
        if self._optimizer is not None:
            raise RuntimeError("the optimizer advances this clock: leave step() out, or detach() the clock first")
        self.steps += 1

    def _count(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.steps += not was_skipped(optimizer)

    def state_dict(self) -> dict[str, int]:
        """Return what goes on when training is resumed."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.steps = int(state["steps"])

    def __getstate__(self) -> dict[str, Any]:
        return {"steps": self.steps, "_optimizer": None, "_hook": None}

    def __repr__(self) -> str:
        return f"Clock(steps={self.steps})"


class Clocked:
    """What reads a clock: one that was given, or one made for it alone, which its `step` advances."""

    clock: Clock
    _owns_clock: bool

    def read(self, clock: Clock | None) -> None:
        """Read a clock from now on, or, where None is given, make one."""
        if clock is not None and not isinstance(clock, Clock):
            raise ValueError(f"clock: expected a Clock, got {type(clock).__name__}: pass clock=Clock(optimizer)")
        self.clock, self._owns_clock = Clock() if clock is None else clock, clock is None

    @property
    def steps(self) -> int:
        """How many steps the optimizer has made."""
        return self.clock.steps

    def step(self) -> Any:
        """Count a step of the optimizer, unless the clock was given."""
        self._tick()

    def _tick(self) -> None:
        if self._owns_clock:
            self.clock.step()


class ClockedModule(Clocked, nn.Module):
    """A module that reads a clock, which is in the state dict."""

    def __init__(self, clock: Clock | None) -> None:
        super().__init__()
        self.read(clock)

    def get_extra_state(self) -> dict[str, Any]:
        return {"clock": self.clock.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.clock.load_state_dict(state["clock"])


def was_skipped(optimizer: Optimizer) -> bool:
    """Return whether gradients were not finite, and a fused optimizer was left to skip the step by a GradScaler."""
    overflow = getattr(optimizer, "found_inf", None)
    return overflow is not None and bool(overflow)
