"""Categorical choices: samples of the Gumbel-softmax distribution, with a temperature that follows the training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from optlayers.training.schedules.schedules import Schedule, value_at


class GumbelSoftmax(nn.Module):
    """A layer that draws a soft or hard choice per row: ``softmax((logits + Gumbel noise) / temperature)``.

    As the temperature falls to zero, samples become one-hot with the probabilities ``softmax(logits)``, and the
    gradients' variance grows (Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017; Maddison,
    Mnih and Teh, "The concrete distribution", 2017). Rows are on the simplex; with ``hard=True`` one-hot, with the
    gradient of the soft sample. In eval mode the most probable choice, one-hot and without noise or gradient.

    Parameters
    ----------
    temperature : float, or function of the step that returns one
        Positive; steps are counted from zero by `step`.
    hard : bool
    dim : int
        The choices.

    Examples
    --------
    >>> from optlayers.training.discrete.gumbel import GumbelSoftmax
    >>> from optlayers.training.schedules.schedules import geometric
    >>> choose = GumbelSoftmax(geometric(1.0, 0.5, limit=0.1))
    >>> choose.step()
    >>> choose.temperature
    0.5
    """

    steps: Tensor

    def __init__(self, temperature: float | Schedule = 1.0, hard: bool = False, *, dim: int = -1) -> None:
        super().__init__()
        self._schedule, self.hard, self.dim = temperature, hard, dim
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.temperature  # noqa: B018 (raises for what is not positive)

    @property
    def temperature(self) -> float:
        """The temperature at the current step."""
        step = int(self.steps)
        value = float(value_at(self._schedule, step))
        if not 0 < value < float("inf"):
            raise ValueError(f"temperature: expected a positive number, got {value} at step {step}")
        return value

    def step(self) -> None:
        """Go to the next step of the temperature."""
        self.steps += 1

    def forward(self, logits: Tensor) -> Tensor:
        """Return one sample for each row of the logits, in their shape."""
        if self.training:
            return nn.functional.gumbel_softmax(logits, self.temperature, self.hard, dim=self.dim)
        best = logits.argmax(self.dim, keepdim=True)
        return torch.zeros_like(logits).scatter(self.dim, best, 1.0)

    def extra_repr(self) -> str:
        """Return what `print(net)` shows: the temperature, its step, and whether samples are hard."""
        return f"temperature={self.temperature:g} at step {int(self.steps)}, hard={self.hard}, dim={self.dim}"
