"""How violations move multipliers."""

from dataclasses import dataclass

from optlayers.training.schedules.arguments import check_number
from optlayers.training.schedules.schedules import Schedule, value_at


@dataclass(frozen=True)
class PI:
    """A proportional-integral controller of multipliers: the increment ``integral e_t + proportional (s_t - s_{t-1})``.

    The error e is the constraint's value, s its moving average, ``s_t = smoothing s_{t-1} + (1 - smoothing) e_t``.
    Alone, the integral is gradient ascent, whose multipliers overshoot and oscillate; the proportional part damps them,
    and with ``proportional == integral`` and no smoothing the update is the optimistic gradient method. Since values,
    not values minus level, are compared, a level that moves gives no jump.

    Sources: Stooke, Achiam, Abbeel, Responsive safety in reinforcement learning by PID Lagrangian methods, 2020;
    Sohrabi, Ramirez, Zhang, Lacoste-Julien, Gallego-Posada, On PI controllers for updating Lagrange multipliers in
    constrained optimization, 2024.

    Attributes
    ----------
    integral : positive number, or function of the step
        The step size of the multipliers; where a function is zero, these stay as they are.
    proportional : number, or function of the step
    smoothing : float
        Between -1 and 1, exclusive.
    """

    integral: float | Schedule
    proportional: float | Schedule = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_number("integral gain", self.integral, above=0.0, or_schedule=True)
        check_number("proportional gain", self.proportional, least=0.0, or_schedule=True)
        check_number("smoothing", self.smoothing, above=-1.0, below=1.0)

    def gains(self, step: int) -> tuple[float, float]:
        """Return the integral and proportional gains at a step."""
        integral = value_at(self.integral, step)
        check_number(f"integral gain at step {step}", integral, least=0.0)
        return float(integral), float(value_at(self.proportional, step))
