"""Categorical choices: samples of the Gumbel-softmax distribution, with a temperature that is a schedule."""

import torch
from torch import Tensor, nn

from optlayers.training.schedules.arguments import check_count, check_number
from optlayers.training.schedules.clock import Clock, ClockedModule
from optlayers.training.schedules.schedules import Schedule, value_at


class GumbelSoftmax(ClockedModule):
    """A layer that draws a soft or hard choice per row: ``softmax((logits + Gumbel noise) / temperature)``.

    As the temperature falls to zero, samples become one-hot with the probabilities ``softmax(logits)``, and the
    gradients' variance grows (Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017; Maddison,
    Mnih and Teh, "The concrete distribution", 2017). Rows are on the simplex; with ``hard=True`` one-hot, with the
    gradient of the soft sample. In eval mode the most probable choice, one-hot and without noise or gradient.

    Parameters
    ----------
    temperature : float, or function of the step that returns one
        Positive.
    hard : bool
    dim : int
        The choices.
    clock : Clock, optional
        One that others read, too; else `step` counts, and the count is in the state dict.

    Examples
    --------
    >>> from optlayers.training.discrete.gumbel import GumbelSoftmax
    >>> from optlayers.training.schedules.schedules import geometric
    >>> choose = GumbelSoftmax(geometric(1.0, 0.5, limit=0.1))
    >>> choose.step()
    >>> choose.temperature
    0.5
    """

    def __init__(
        self, temperature: float | Schedule = 1.0, hard: bool = False, *, dim: int = -1, clock: Clock | None = None
    ) -> None:
        super().__init__(clock)
        check_number("temperature", temperature, above=0.0, or_schedule=True)
        self._schedule, self.hard, self.dim = temperature, bool(hard), check_count("dim", dim, least=-99)
        self.temperature  # noqa: B018 (raises for what is not positive)

    @property
    def temperature(self) -> float:
        """The temperature at the current step."""
        value = value_at(self._schedule, self.steps)
        check_number(f"temperature at step {self.steps}", value, above=0.0)
        return float(value)

    def forward(self, logits: Tensor) -> Tensor:
        """Return one sample for each row of the logits, in their shape."""
        if self.training:
            return nn.functional.gumbel_softmax(logits, self.temperature, self.hard, dim=self.dim)
        best = logits.argmax(self.dim, keepdim=True)
        return torch.zeros_like(logits).scatter(self.dim, best, 1.0)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g} at step {self.steps}, hard={self.hard}, dim={self.dim}"
