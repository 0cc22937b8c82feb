"""Parameters of a module that are projected onto their sets: what the callbacks of training loops share."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.projected.in_place import project_in_place
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled


class HeldParameters:
    """Parameters by name, each held to a set by projection.

    Parameters
    ----------
    constraints : mapping
        From names of parameters as in ``module.named_parameters()``, or patterns such as ``"layers.*.weight"``, to
        constraints, a FeasibleSet or a ScheduledSet.
    monitor : Monitor, optional
        Watches the same parameters, and is told what projections move.
    """

    def __init__(self, constraints: Mapping[str, Constraints | ScheduledSet], monitor: Monitor | None = None) -> None:
        self.sets = {pattern: scheduled(held) for pattern, held in constraints.items()}
        self.monitor = monitor
        self._found: dict[str, tuple[str, ScheduledSet]] = {}
        self._module = nn.Module()

    def attach(self, module: nn.Module) -> None:
        """Find the parameters in a module; a second module takes the place of the first.

        Raises
        ------
        ValueError
            If a pattern fits no parameter, two patterns fit the same one, or shapes do not fit.
        """
        names = [name for name, _ in module.named_parameters()]
        found: dict[str, tuple[str, ScheduledSet]] = {}
        for pattern, held in self.sets.items():
            fitting = [name for name in names if fnmatchcase(name, pattern)]
            if not fitting:
                raise ValueError(f"no parameter is called {pattern!r}; there are {', '.join(names) or 'none'}")
            for name in fitting:
                if name in found:
                    raise ValueError(f"{name!r} fits both {found[name][0]!r} and {pattern!r}: hold it to one set")
                held.check(module.get_parameter(name), name)
                found[name] = pattern, held
        self._found, self._module = found, module
        if self.monitor is not None:
            for name, (_, held) in found.items():
                if name not in self.monitor.names:
                    self.monitor.watch(name, lambda name=name: self._module.get_parameter(name), held)

    @torch.no_grad()
    def project(self, step: int) -> None:
        """Project each parameter onto its set of this step, in place."""
        for name, (_, held) in self._found.items():
            parameter = self._module.get_parameter(name)
            recorded = self.monitor is not None and self.monitor.due
            before = parameter.clone() if recorded else parameter
            project_in_place(held.at(step), parameter)
            if self.monitor is not None:
                self.monitor.projected(name, before, parameter)
