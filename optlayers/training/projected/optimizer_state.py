"""What torch's optimizers keep of a parameter: the diagonal metric of their step, and their momentum."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Adamax, NAdam, Optimizer, RAdam, RMSprop

Group = dict[str, Any]


@functools.singledispatch
def diagonal_metric(optimizer: Optimizer, parameter: Tensor, group: Group) -> Tensor | None:
    """Return what the optimizer divides its step by, entry by entry; None for ones, and before the first step.

    Optimizers of one's own are registered with ``diagonal_metric.register``.

    Parameters
    ----------
    optimizer : Optimizer
    parameter : Tensor
    group : dict
        The parameter group that holds it.

    Returns
    -------
    Tensor, of the parameter's shape, or None

    Raises
    ------
    ValueError
        If the optimizer is not known to step in a diagonal metric.
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
    state = optimizer.state.get(parameter, {})
    if "exp_avg_sq" not in state:
        return None
    second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    correction = 1 - group["betas"][1] ** float(state["step"])
    return (second / correction).sqrt_().add_(group["eps"])


@diagonal_metric.register
def _(optimizer: RMSprop, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter, {})
    if "square_avg" not in state:
        return None
    square = state["square_avg"]
    if group["centered"]:
        square = (square - state["grad_avg"].square()).clamp_min(0)
    return square.sqrt().add_(group["eps"])


@diagonal_metric.register
def _(optimizer: Adagrad, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter, {})
    return state["sum"].sqrt().add_(group["eps"]) if "sum" in state else None


@diagonal_metric.register
def _(optimizer: Adamax, parameter: Tensor, group: Group) -> Tensor | None:
    state = optimizer.state.get(parameter, {})
    return state["exp_inf"].clone() if "exp_inf" in state else None


@dataclass(frozen=True)
class Momentum:
    """A momentum buffer, and whether it is an average of steps (RMSprop's), rather than of gradients."""

    buffer: Tensor
    is_of_steps: bool


def has_momentum(optimizer: Optimizer) -> bool:
    """Whether optimizers of this kind keep an average of gradients or steps, if they are told to."""
    return bool({"momentum", "betas"} & optimizer.defaults.keys())


def momentum_of(optimizer: Optimizer, parameter: Tensor) -> Momentum | None:
    """Return the momentum of a parameter; None where there is none (yet)."""
    state = optimizer.state.get(parameter, {})
    for name in ("exp_avg", "momentum_buffer"):
        buffer = state.get(name)
        if isinstance(buffer, torch.Tensor):
            return Momentum(buffer, isinstance(optimizer, RMSprop))
    return None
