"""Parameters and the sets that they are kept to: given as tensors, or by their names in a module."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, as_scheduled_set


def members_of(constraints: Mapping[Tensor, Constraints], owner: str) -> dict[Tensor, ScheduledSet]:
    """Return each parameter's set; raise ValueError where a key is no tensor, or its shape does not fit."""
    if not isinstance(constraints, Mapping):
        raise ValueError(f"{owner}: expected a dict {{parameter: constraints}}, got {type(constraints).__name__}")
    members = {}
    for number, (parameter, its_constraints) in enumerate(constraints.items()):
        if not isinstance(parameter, Tensor):
            raise ValueError(f"expected parameters as keys, got {parameter!r}: pass {{model.weight: constraints}}")
        members[parameter] = as_scheduled_set(its_constraints)
        members[parameter].check(parameter, f"parameter {number} of {owner}")
    return members


def members_by_name(module: nn.Module, sets: Mapping[str, ScheduledSet]) -> dict[str, ScheduledSet]:
    """Return the sets of a module's parameters, from names or patterns such as ``"layers.*.weight"``.

    Raises ValueError if a pattern fits no parameter, two patterns fit the same one, or shapes do not fit.
    """
    names = [name for name, _ in module.named_parameters()]
    chosen: dict[str, str] = {}
    for pattern, scheduled_set in sets.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            raise ValueError(f"no parameter is called {pattern!r}; there are {', '.join(names) or 'none'}")
        for name in fitting:
            if name in chosen:
                raise ValueError(f"{name!r} fits both {chosen[name]!r} and {pattern!r}: keep it to one set")
            scheduled_set.check(module.get_parameter(name), name)
            chosen[name] = pattern
    return {name: sets[pattern] for name, pattern in chosen.items()}
