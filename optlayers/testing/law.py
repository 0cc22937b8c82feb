"""What a law is, the list of them, which cases they are for, and how closely numbers must agree."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from optlayers.testing.cases import Case

Law = Callable[[Case], None]
LAWS: dict[str, Law] = {}
_DATA: dict[str, str] = {}


def law(data: Literal["any", "constants", "parameters"] = "any") -> Callable[[Law], Law]:
    """Add a law to the list.

    Of an example that comes with its data as constants and as parameters, "constants" and "parameters" take only that
    one: what `agrees_with_constants` holds to be equal is not tested twice.
    """

    def add(function: Law) -> Law:
        LAWS[function.__name__], _DATA[function.__name__] = function, data
        return function

    return add


def laws_for(case: Case) -> dict[str, Law]:
    """Return the laws that are to be tested on a case."""
    other = {"constants": "parameters", "parameters": "constants"}.get(case.data)
    return {name: function for name, function in LAWS.items() if _DATA[name] != other}


def scale_of(*tensors: Tensor) -> float:
    """Return the largest absolute entry, one at least."""
    return max([1.0, *(float(t.detach().abs().max()) for t in tensors if t.numel())])


def assert_close(one: Tensor, other: Tensor, scale: float, tolerance: float = 1e-9) -> None:
    """Require agreement to a tolerance, relative to a scale; the default is what float64 promises closed forms."""
    gap = float((one - other).detach().abs().max()) if one.numel() else 0.0
    assert gap <= tolerance * scale, f"differ by {gap:.2e}, allowed {tolerance * scale:.2e}"


def value_and_gradients(project: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Return a projection, and the gradients of a weighted sum of it in all inputs."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    y = project(*leaves)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]


def flat(points: Tensor, case: Case) -> Tensor:
    """Return points ``(*batch, *shape)`` as ``(*batch, n)``."""
    return points.reshape(*points.shape[: points.ndim - len(case.shape)], -1)
