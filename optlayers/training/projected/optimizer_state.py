"""What torch's optimizers keep of a parameter: the diagonal metric of their step, and their momentum."""

import functools
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Adamax, NAdam, Optimizer, RAdam, RMSprop

Group = dict[str, Any]


@functools.singledispatch
def diagonal_metric(optimizer: Optimizer, parameter: Tensor, group: Group) -> Tensor | None:
    """Return what the optimizer divides its step by, entry by entry; None for ones, and before the first step.

    The group is the parameter's. Optimizers of one's own are registered with ``diagonal_metric.register``; others, not
    known to step in a diagonal metric, raise ValueError.
    """
    raise ValueError(
        f"metric='optimizer': {type(optimizer).__name__} is not known to have a diagonal metric; take "
        "metric='euclidean', or register one with optlayers.training.projected.optimizer_state.diagonal_metric.register"
    )


@diagonal_metric.register
def _(optimizer: SGD, parameter: Tensor, group: Group) -> Tensor | None:
    return None


@diagonal_metric.register(Adam)
@diagonal_metric.register(NAdam)
@diagonal_metric.register(RAdam)
def _(optimizer: Optimizer, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter)
    if not state:
        return None
    second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    correction = 1 - group["betas"][1] ** float(state["step"])
    return (second / correction).sqrt_().add_(group["eps"])


@diagonal_metric.register
def _(optimizer: RMSprop, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter)
    if not state:
        return None
    square = state["square_avg"]
    if group["centered"]:
        square = (square - state["grad_avg"].square()).clamp_min(0)
    return square.sqrt().add_(group["eps"])


@diagonal_metric.register
def _(optimizer: Adagrad, parameter: Tensor, group: Group) -> Tensor | None:
    return optimizer.state[parameter]["sum"].sqrt().add_(group["eps"])


@diagonal_metric.register
def _(optimizer: Adamax, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter)
    return state["exp_inf"].clone() if state else None


def has_momentum(optimizer: Optimizer) -> bool:
    """Whether optimizers of this kind keep an average of gradients or steps, if they are told to."""
    return bool({"momentum", "betas"} & optimizer.defaults.keys())


def momentum_of(optimizer: Optimizer, parameter: Tensor) -> Tensor | None:
    """Return the momentum of a parameter, an average of gradients or steps; None where there is none (yet)."""
    state = optimizer.state.get(parameter, {})
    return state.get("exp_avg", state.get("momentum_buffer"))


def averages_steps(optimizer: Optimizer) -> bool:
    """Whether the momentum is an average of steps, rather than of gradients."""
    return isinstance(optimizer, RMSprop)
