"""Parameter values as they arrive: matched with the declared parameters, and checked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced

_SYMMETRY_TOLERANCE = 1e-6


def assign(parameters: Sequence[cp.Parameter], positional: Sequence[Any], named: Mapping[str, Any]) -> dict[int, Any]:
    """Return the values given by position or by name, by place in `parameters`.

    ValueError is raised if there are too many values, a name is unknown or ambiguous, or a parameter is given twice.
    """
    names = [p.name() for p in parameters]
    if len(positional) > len(parameters):
        raise ValueError(
            f"got {len(positional)} parameter values by position, but the set has {len(parameters)} parameters"
            + (f" ({', '.join(names)})" if names else "")
        )
    values = dict(enumerate(positional))
    for name, value in named.items():
        matches = [k for k, other in enumerate(names) if other == name]
        if len(matches) != 1:
            problem = "names several parameters: pass them by position" if matches else "is not a parameter"
            raise ValueError(f"{name!r} {problem}; the parameters are {', '.join(names) or 'none'}")
        if matches[0] in values:
            raise ValueError(f"parameter {name} is given twice, by position and by name")
        values[matches[0]] = value
    return values


@dataclass(frozen=True)
class Given:
    """A parameter's value: a tensor, or numbers, which follow the point's dtype and device."""

    value: Tensor
    is_tensor: bool

    @classmethod
    def of(cls, parameter: cp.Parameter, value: Any) -> "Given":
        """Check that the value is real and of shape ``(*batch, *shape)``; raise ValueError if not."""
        tensor = value
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in _flat(value)):
            raise ValueError(
                f"parameter {parameter.name()}: got a list of tensors, which has no gradient: torch.stack it"
            )
        if not isinstance(value, Tensor):
            try:
                tensor = torch.tensor(value, dtype=torch.float64)  # a copy
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(f"parameter {parameter.name()}: expected a tensor or numbers, got {value!r}") from None
        check_storage(f"parameter {parameter.name()}", tensor)
        if tensor.is_complex():
            raise ValueError(f"parameter {parameter.name()}: expected real numbers, got {tensor.dtype}")
        shape = tuple(parameter.shape)
        if tensor.ndim < len(shape) or tuple(tensor.shape[tensor.ndim - len(shape) :]) != shape:
            expected = ", ".join(["*batch", *map(str, shape)])
            raise ValueError(
                f"parameter {parameter.name()} has shape {shape}: expected a tensor ({expected}), "
                f"got {tuple(tensor.shape)}"
            )
        return cls(tensor, isinstance(value, Tensor))

    def on(self, parameter: cp.Parameter, point: Tensor) -> Tensor:
        """Return the value on the point's device; raise ValueError for a batch of it on another device."""
        if self.value.device != point.device and self.is_tensor and self.value.ndim:
            raise ValueError(
                f"parameter {parameter.name()} is on {self.value.device}, the point on {point.device}: "
                "move one to the other"
            )
        return self.value.to(point.device)


def check_storage(name: str, tensor: Tensor) -> None:
    """Raise ValueError for a tensor that has no numbers, or not all of them."""
    if tensor.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got {tensor.layout}: pass tensor.to_dense()")
    if tensor.is_meta and not is_traced():
        raise ValueError(f"{name}: got a tensor on the device meta, which has no values: move the module off it first")


def _flat(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _flat(item)
        else:
            yield item


def broken_attributes(parameter: cp.Parameter, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield what the parameter's attributes (sign, PSD, ...) demand in vain, and of which samples, ``(*batch,)``."""
    attributes, value = parameter.attributes, value.detach()
    for attribute, (demand, holds) in _DEMANDS.items():
        if attributes[attribute]:
            yield from _broken(parameter, demand, ~holds(value))
    if attributes["bounds"] and not any(isinstance(b, cp.Expression) for b in attributes["bounds"]):
        low, high = (torch.as_tensor(b, dtype=value.dtype, device=value.device) for b in attributes["bounds"])
        yield from _broken(parameter, "lie within its bounds", (value < low) | (value > high))
    if attributes["sparsity"]:
        outside = torch.ones(parameter.shape, dtype=torch.bool)
        outside[tuple(torch.as_tensor(index) for index in parameter.sparse_idx or ())] = False
        yield from _broken(parameter, "be zero outside its sparsity pattern", (value != 0) & outside.to(value.device))
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        slack = _SYMMETRY_TOLERANCE * (1 + value.abs().amax((-2, -1), keepdim=True))
        yield from _broken(parameter, "be symmetric", (value - value.mT).abs() > slack)
        if attributes["PSD"] or attributes["NSD"]:
            signed = (value if attributes["PSD"] else -value).nan_to_num().double()
            bad = (torch.linalg.eigvalsh(signed).amin(-1) < -slack[..., 0, 0])[..., None, None]
            sign = "positive" if attributes["PSD"] else "negative"
            yield from _broken(parameter, f"be {sign} semidefinite", bad)


_DEMANDS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "nonneg": ("be nonnegative", lambda value: value >= 0),
    "nonpos": ("be nonpositive", lambda value: value <= 0),
    "pos": ("be positive", lambda value: value > 0),
    "neg": ("be negative", lambda value: value < 0),
    "integer": ("be integer", lambda value: value == value.round()),
    "boolean": ("be 0 or 1", lambda value: (value == 0) | (value == 1)),
    "diag": (
        "be diagonal",
        lambda value: (value == 0) | torch.eye(value.shape[-1], dtype=torch.bool, device=value.device),
    ),
}


def _broken(parameter: cp.Parameter, demand: str, bad: Tensor) -> Iterator[tuple[str, Tensor]]:
    rows = bad.flatten(bad.ndim - len(parameter.shape)).any(-1) if parameter.shape else bad
    if bool(rows.any()):
        yield f"parameter {parameter.name()} must {demand}; it is not", rows


def name_rows(bad: Tensor) -> str:
    """Name the samples where `bad`, of the batch's shape, is true."""
    rows = [tuple(index) if len(index) > 1 else index[0] for index in bad.nonzero().tolist()] if bad.ndim else []
    if not rows:
        return "the point"
    shown = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    return f"{len(rows)} of {bad.numel()} samples (row{'s' if len(rows) > 1 else ''} {shown})"
