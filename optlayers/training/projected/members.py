"""The parameters of an optimizer and the sets that they are held to."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled


def members_of(constraints: Mapping[Tensor, Constraints | ScheduledSet], owner: str) -> dict[Tensor, ScheduledSet]:
    """Return each parameter's set; raise ValueError where a key is no tensor, or its shape does not fit."""
    if not isinstance(constraints, Mapping):
        raise ValueError(f"{owner}: expected a dict {{parameter: constraints}}, got {type(constraints).__name__}")
    members = {}
    for number, (parameter, own) in enumerate(constraints.items()):
        if not isinstance(parameter, Tensor):
            raise ValueError(f"expected parameters as keys, got {parameter!r}: pass {{model.weight: constraints}}")
        members[parameter] = scheduled(own)
        members[parameter].check(parameter, f"parameter {number} of {owner}")
    return members
