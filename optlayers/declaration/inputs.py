"""Points and parameter values of one call: checked, in one dtype, flat."""

import functools
from collections.abc import Mapping, Sequence

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.declaration.parameter_values import Given, broken_attributes, check_storage
from optlayers.parametric.functions import join
from optlayers.parametric.maps import Values

Problem = tuple[str, Tensor]  # what is wrong, and with which samples


def check_points(variables: Sequence[cp.Variable], points: Sequence[object]) -> list[Tensor]:
    """Return the points if there is one of the right kind and shape per variable; raise ValueError if not."""
    if len(points) != len(variables):
        raise ValueError(f"expected {len(variables)} points, one per variable, got {len(points)}")
    result = []
    for variable, point in zip(variables, points, strict=True):
        shape = tuple(variable.shape)
        if not isinstance(point, Tensor):
            raise ValueError(f"variable {variable.name()}: expected a tensor, got {type(point).__name__}")
        if not point.is_floating_point():
            raise ValueError(f"variable {variable.name()}: expected a floating-point tensor, got {point.dtype}")
        check_storage(f"variable {variable.name()}", point)
        if point.ndim < len(shape) or tuple(point.shape[point.ndim - len(shape) :]) != shape:
            expected = ", ".join(["*batch", *map(str, shape)])
            raise ValueError(
                f"variable {variable.name()} has shape {shape}: expected a point ({expected}), got {tuple(point.shape)}"
            )
        result.append(point)
    return result


def prepare(
    variables: Sequence[cp.Variable],
    parameters: Sequence[cp.Parameter],
    points: Sequence[Tensor],
    given: Mapping[int, Given],
    *,
    validate: bool,
    keep_half: bool = False,
) -> tuple[Tensor, Values, list[Problem]]:
    """Return the points ``(*batch, n)``, the parameter values, and what is wrong with which samples.

    The dtype is that of the points and the parameter tensors together, float32 at least; with `keep_half`, points of
    half types stay as they are where that is float32.
    """
    missing = [p.name() for k, p in enumerate(parameters) if k not in given]
    if missing:
        raise ValueError(f"no value for the parameters {', '.join(missing)}: pass them, or call bind")
    values = [given[k].on(p, points[0]) for k, p in enumerate(parameters)]
    tensors = [*points, *(value for k, value in enumerate(values) if given[k].is_tensor)]
    floating = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    dtype = functools.reduce(torch.promote_types, floating, torch.float32)
    flat = [_flatten(value, len(p.shape), dtype) for p, value in zip(parameters, values, strict=True)]
    dtype_of_points = functools.reduce(torch.promote_types, [point.dtype for point in points])
    dtype_of_points = dtype_of_points if keep_half and dtype == torch.float32 else dtype
    parts = [_flatten(point, len(v.shape), dtype_of_points) for v, point in zip(variables, points, strict=True)]
    names = [leaf.name() for leaf in (*variables, *parameters)]
    _check_batches(names, [*parts, *flat])
    v = parts[0] if len(parts) == 1 else join(*parts)
    problems: list[Problem] = []
    if validate:
        for parameter, value in zip(parameters, values, strict=True):
            problems += broken_attributes(parameter, value)
    precision = (
        0.0 if all(floating_dtype == torch.float64 for floating_dtype in floating) else torch.finfo(torch.float32).eps
    )
    return v, Values(tuple(flat), dtype, points[0].device, precision), problems


def _flatten(tensor: Tensor, event: int, dtype: torch.dtype) -> Tensor:
    """Return ``(*batch, size)`` in C order."""
    tensor = tensor.to(dtype)
    return tensor.unsqueeze(-1) if event == 0 else tensor.flatten(tensor.ndim - event)


def _check_batches(names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Raise ValueError for batch dimensions that do not broadcast."""
    if len(tensors) == 1:
        return
    try:
        torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    except RuntimeError:
        named = dict(zip(names, (tuple(t.shape[:-1]) for t in tensors), strict=True))
        shapes = ", ".join(f"{name} {shape}" for name, shape in named.items())
        sizes: dict[int, str] = {}
        for k in range(1, max(map(len, named.values())) + 1):
            sizes = {shape[-k]: name for name, shape in named.items() if len(shape) >= k and shape[-k] != 1}
            if len(sizes) > 1:
                break
        clash = " against ".join(f"{size} samples of {name}" for size, name in sizes.items())
        raise ValueError(f"the batch dimensions do not fit together: {shapes}; that is {clash}") from None
