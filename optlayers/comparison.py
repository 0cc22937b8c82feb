"""All methods that apply, side by side on the user's own data."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from optlayers.feasible_set import FeasibleSet, Method
from optlayers.layer import ProjectionLayer

_REFERENCE: Method = "cvxpylayers"
_TITLES: tuple[str, ...] = ("method", "forward", "with gradient", "to reference", "gradient to ref.", "violation")


@dataclass(frozen=True)
class MethodResult:
    """What one method did.

    Attributes
    ----------
    method : str
    forward, backward : float
        Seconds for the projection, and for the projection with its gradient; medians.
    value_difference, gradient_difference : float
        Largest absolute difference from the reference method, in the value and in the gradients (for the points and
        the parameters) of a random linear function of it; NaN where cvxpylayers is not installed.
    violation : float
        Largest absolute residual of the constraints.
    """

    method: str
    forward: float
    backward: float
    value_difference: float
    gradient_difference: float
    violation: float


@dataclass(frozen=True)
class Comparison:
    """The results of `compare`, one per method; prints as a table."""

    results: tuple[MethodResult, ...]

    def __str__(self) -> str:
        rows = [_TITLES]
        for r in self.results:
            times = (f"{1e3 * r.forward:.3f} ms", f"{1e3 * r.backward:.3f} ms")
            errors = (f"{r.value_difference:.1e}", f"{r.gradient_difference:.1e}", f"{r.violation:.1e}")
            rows.append((r.method, *times, *errors))
        widths = [max(len(row[k]) for row in rows) for k in range(len(_TITLES))]
        lines: list[str] = []
        for name, *others in rows:
            cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *cells]))
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def compare(layer: ProjectionLayer | FeasibleSet, *inputs: Tensor, seconds: float = 0.2, **named: Any) -> Comparison:
    """Run every method that applies on the same data; print a table and return its numbers.

    The methods are that of the layer, the general solver, and cvxpylayers, the reference, which errs by about 1e-5
    itself: a difference of that size says that the two agree.

    Parameters
    ----------
    layer : ProjectionLayer or FeasibleSet
    *inputs : Tensor
        As for the layer: one point per variable, then parameters.
    seconds : float
        How long to time each measurement, at least; each method runs at least once.
    **named
        Parameters by name.

    Returns
    -------
    Comparison
    """
    declared = layer.feasible_set if isinstance(layer, ProjectionLayer) else layer
    sets = {declared.method: declared}
    others: list[Method] = ["general"]
    if importlib.util.find_spec("cvxpylayers") is not None:
        others.append(_REFERENCE)
    for method in others:
        if method not in sets:
            sets[method] = FeasibleSet(
                declared.constraints,
                declared.variables,
                declared.parameters,
                method=method,
                on_failure="nan",
                validate=declared.validate,
            ).bind_like(declared)
    runs = {method: _Run(chosen, inputs, named) for method, chosen in sets.items()}
    reference = runs.get(_REFERENCE)
    results = []
    for method, run in runs.items():
        forward, backward = (run.time(f"run.{step}()", seconds) for step in ("forward", "backward"))
        value = gradient = float("nan")
        if reference is not None:
            value, gradient = _gap(run.values, reference.values), _gap(run.gradients, reference.gradients)
        violation = _largest(run.bound.violation(*run.values))
        results.append(MethodResult(method, forward, backward, value, gradient, violation))
    comparison = Comparison(tuple(results))
    print(comparison)
    return comparison


class _Run:
    """One method on fresh copies of the data."""

    def __init__(self, chosen: FeasibleSet, inputs: Sequence[Any], named: dict[str, Any]) -> None:
        copies = [_copy(value) for value in (*inputs, *named.values())]
        count = len(chosen.variables)
        values, keywords = copies[count : len(inputs)], dict(zip(named, copies[len(inputs) :], strict=True))
        self.points = copies[:count]
        self.leaves = [value for value in copies if isinstance(value, Tensor) and value.requires_grad]
        self.bound = chosen.bind(*values, **keywords)
        self.values = [value.detach() for value in self.forward()]
        generator = torch.Generator().manual_seed(0)
        self.weights = [torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v) for v in self.values]
        self.gradients = self.backward()

    def forward(self) -> Sequence[Tensor]:
        result = self.bound.project(*self.points)
        return result if isinstance(result, tuple) else (result,)

    def backward(self) -> Sequence[Tensor]:
        total = torch.stack([(y * w).sum().double() for y, w in zip(self.forward(), self.weights, strict=True)]).sum()
        return torch.autograd.grad(total, self.leaves, allow_unused=True, materialize_grads=True)

    def time(self, statement: str, seconds: float) -> float:
        timer = Timer(statement, globals={"run": self}, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=seconds).median


def _copy(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.is_floating_point())


def _gap(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(_largest(a - b) for a, b in zip(ones, others, strict=True))


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0
