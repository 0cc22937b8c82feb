"""Parameter values as they arrive: matched with the declared parameters, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

_SYMMETRY_TOLERANCE = 1e-6


def assign(
    parameters: Sequence[cp.Parameter], positional: Sequence[Any], named: Mapping[str, Any]
) -> dict[int, Tensor | float]:
    """Return the values given by position or by name, by place in `parameters`.

    Raises
    ------
    ValueError
        If there are too many values, a name is unknown or ambiguous, or a parameter is given twice.
    """
    names = [p.name() for p in parameters]
    if len(positional) > len(parameters):
        raise ValueError(
            f"got {len(positional)} parameter values by position, but the set has {len(parameters)} parameters"
            + (f" ({', '.join(names)})" if names else "")
        )
    values = dict(enumerate(positional))
    for name, value in named.items():
        places = [k for k, other in enumerate(names) if other == name]
        if len(places) != 1:
            problem = "names several parameters: pass them by position" if places else "is not a parameter"
            raise ValueError(f"{name!r} {problem}; the parameters are {', '.join(names) or 'none'}")
        if places[0] in values:
            raise ValueError(f"parameter {name} is given twice, by position and by name")
        values[places[0]] = value
    return values


def as_tensor(parameter: cp.Parameter, value: Any, like: Tensor | None = None) -> Tensor:
    """Return the value as a tensor ``(*batch, *shape)``; numbers and arrays are converted.

    Raises
    ------
    ValueError
        If the shape or the device does not fit.
    """
    if not isinstance(value, Tensor):
        value = torch.as_tensor(value, dtype=None if like is None else like.dtype)
    shape = tuple(parameter.shape)
    if value.shape[value.ndim - len(shape) :] != shape or value.ndim < len(shape):
        raise ValueError(
            f"parameter {parameter.name()} has shape {shape}: expected a tensor (*batch, *{shape}), "
            f"got {tuple(value.shape)}"
        )
    if like is not None and value.device != like.device:
        if value.ndim:
            raise ValueError(
                f"parameter {parameter.name()} is on {value.device}, the point on {like.device}: move one to the other"
            )
        value = value.to(like.device)
    return value


def check_values(parameter: cp.Parameter, value: Tensor) -> None:
    """Raise ValueError if a value is NaN or infinite, or breaks an attribute (sign, PSD, ...) of its parameter."""
    value = value.detach()
    event = len(parameter.shape)
    _refuse(parameter, "be finite", ~value.isfinite(), event)
    attributes = parameter.attributes
    signs = {
        "nonneg": ("be nonnegative", value < 0),
        "nonpos": ("be nonpositive", value > 0),
        "pos": ("be positive", value <= 0),
        "neg": ("be negative", value >= 0),
    }
    for attribute, (demand, bad) in signs.items():
        if attributes[attribute]:
            _refuse(parameter, demand, bad, event)
    if attributes["integer"] or attributes["boolean"]:
        bad = value != value.round() if attributes["integer"] else (value != 0) & (value != 1)
        _refuse(parameter, "be integer" if attributes["integer"] else "be 0 or 1", bad, event)
    if attributes["bounds"] and not any(isinstance(b, cp.Expression) for b in attributes["bounds"]):
        low, high = (torch.as_tensor(b, dtype=value.dtype, device=value.device) for b in attributes["bounds"])
        _refuse(parameter, "lie within its bounds", (value < low) | (value > high), event)
    if attributes["diag"]:
        off_diagonal = ~torch.eye(parameter.shape[-1], dtype=torch.bool, device=value.device)
        _refuse(parameter, "be diagonal", (value != 0) & off_diagonal, event)
    if attributes["sparsity"]:
        outside = torch.ones(parameter.shape, dtype=torch.bool)
        outside[tuple(torch.as_tensor(index) for index in parameter.sparse_idx)] = False
        _refuse(parameter, "be zero outside its sparsity pattern", (value != 0) & outside.to(value.device), event)
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        slack = _SYMMETRY_TOLERANCE * (1 + value.abs().amax((-2, -1), keepdim=True))
        _refuse(parameter, "be symmetric", (value - value.mT).abs() > slack, event)
        if attributes["PSD"] or attributes["NSD"]:
            signed = value if attributes["PSD"] else -value
            bad = torch.linalg.eigvalsh(signed.double()).amin(-1) < -slack[..., 0, 0]
            _refuse(parameter, f"be {'positive' if attributes['PSD'] else 'negative'} semidefinite", bad, 0)


def _refuse(parameter: cp.Parameter, demand: str, bad: Tensor, event: int) -> None:
    if not bool(bad.any()):
        return
    rows = bad.flatten(bad.ndim - event).any(-1) if event else bad
    where = f" in {name_rows(rows)}" if rows.ndim else ""
    raise ValueError(f"parameter {parameter.name()} must {demand}; it is not{where}")


def name_rows(bad: Tensor) -> str:
    """Name the samples where `bad`, of the batch's shape, is true."""
    rows = [tuple(index) if len(index) > 1 else index[0] for index in bad.nonzero().tolist()] if bad.ndim else []
    if not rows:
        return "the point"
    shown = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    return f"{len(rows)} of {bad.numel()} samples (row{'s' if len(rows) > 1 else ''} {shown})"
