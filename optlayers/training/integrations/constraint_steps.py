"""What the callbacks of training loops share: parameters found by name, projected, and recorded."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.projected.members import members_by_name
from optlayers.training.projected.projector import Projector, resolve
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import Constraints, as_scheduled_set


class ConstraintSteps:
    """Parameters of a module that are projected after the steps of a trainer, which counts these.

    Parameters
    ----------
    constraints : mapping, optional
        From names of parameters as in ``module.named_parameters()``, or patterns such as ``"layers.*.weight"``, to
        constraints, a FeasibleSet or a ScheduledSet, whose step counts the trainer's optimizer steps.
    monitor : Monitor, optional
        Watches these parameters and whatever else it was told to, and is told what projections move.
    prefix : str
        Of the keys of records.
    project_now : bool
        Whether training starts with a projection.
    **options
        ``every``, ``metric`` and ``clear_momentum``, as for `project_after_step`.
    """

    def __init__(
        self,
        constraints: Mapping[str, Constraints] | None = None,
        monitor: Monitor | None = None,
        *,
        prefix: str = "constraints/",
        project_now: bool = True,
        **options: Any,
    ) -> None:
        self.sets = {pattern: as_scheduled_set(its_set) for pattern, its_set in (constraints or {}).items()}
        self.monitor, self.prefix, self.project_now = monitor, prefix, project_now
        self.clock = Clock()
        self.projector = Projector({}, self.clock, **options)
        if monitor is not None:
            monitor.follow(self.projector)

    def attach(self, module: nn.Module) -> None:
        """Find the parameters in a module, see `members_by_name`; a second module takes the place of the first."""
        sets = members_by_name(module, self.sets)
        self.projector.members = {
            name: (partial(module.get_parameter, name), scheduled_set) for name, scheduled_set in sets.items()
        }
        if self.monitor is not None:
            for name, scheduled_set in sets.items():
                if name not in self.monitor.names:
                    self.monitor.watch(name, partial(self._parameter, name), scheduled_set)

    def start(self, step: int, optimizers: Sequence[Optimizer] = ()) -> None:
        """Begin, or go on, at a step of the trainer."""
        self.clock.steps = step
        if self.project_now:
            self.projector.project(optimizers)

    def after_step(self, step: int, optimizers: Sequence[Optimizer] = ()) -> dict[str, float]:
        """Project and record when the optimizer has made so many steps; return the record, empty where none is due."""
        self.clock.steps = step
        self.projector.after_step(optimizers)
        record = self.monitor.step() if self.monitor is not None else None
        return {f"{self.prefix}{key}": value for key, value in (record or {}).items()}

    def _parameter(self, name: str) -> Tensor:
        return resolve(self.projector.members[name][0])
