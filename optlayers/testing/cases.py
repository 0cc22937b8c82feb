"""Cases to test a set on: its examples, with data as constants and as parameters, and points that tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet, Method, OnFailure
from optlayers.sets.base import ClosedFormSet

_SEED = 0


@dataclass(frozen=True, eq=False)
class Case:
    """One example of a set.

    Attributes
    ----------
    kind : type or None
        The closed form that the set has; None: it runs on the general solver.
    name : str
    variable : cvxpy.Variable
    constraints : list of cvxpy.Constraint
    parameters : list of cvxpy.Parameter
        Empty, or all data that may be parameters, with their values set.
    method : str
        As for `FeasibleSet`.
    accuracy : float
        By how much projections may be wrong, relative to the data.
    repeatability : float
        By how much two ways to ask for the same projection may differ, relative to the data.
    is_polyhedral : bool
        Whether the set has no curved part, so that the general solver has exact second derivatives.
    huge : float
        The size of the largest points.
    """

    kind: type[ClosedFormSet] | None
    name: str
    variable: cp.Variable
    constraints: list[cp.Constraint]
    parameters: list[cp.Parameter]
    method: Method = "auto"
    accuracy: float = 1e-9
    repeatability: float = 1e-12
    is_polyhedral: bool = True
    huge: float = 1e9

    @cached_property
    def feasible_set(self) -> FeasibleSet:
        """The set without parameter values."""
        return self.make()

    def make(self, on_failure: OnFailure = "raise") -> FeasibleSet:
        """Return the set anew, with another policy for failures."""
        return FeasibleSet(self.constraints, self.variable, self.parameters, method=self.method, on_failure=on_failure)

    def on_general_solver(self) -> Case:
        """Return the same case, for the general solver."""
        return replace(self, name=f"{self.name}-general", method="general")

    def values(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Return the parameter values."""
        return [torch.as_tensor(np.asarray(p.value), dtype=dtype) for p in self.parameters]

    def project(self, v: Tensor, *values: Tensor) -> Tensor:
        """Project, by default with the example's own parameter values."""
        return self.feasible_set.bind(*(values or self.values())).project(v)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    def random_points(self, count: int = 6, scale: float = 3.0) -> Tensor:
        """Return points in general position, most of them outside: ``(count, *shape)``."""
        generator = torch.Generator().manual_seed(_SEED)
        return scale * torch.randn(count, *self.shape, dtype=torch.float64, generator=generator)

    def feasible_points(self, count: int = 6) -> Tensor:
        """Return points on the boundary and convex combinations of them, which lie inside."""
        on = self.project(self.random_points(count))
        weights = torch.softmax(torch.linspace(-1, 1, count * count, dtype=torch.float64).reshape(count, count), -1)
        return torch.cat([on, (weights @ on.reshape(count, -1)).reshape(on.shape)])

    def special_points(self) -> Tensor:
        """Return points that break naive code: zero, ties, huge, tiny, feasible, on the boundary."""
        zero = torch.zeros(1, *self.shape, dtype=torch.float64)
        random = self.random_points(2)
        mixed = random * torch.where(random > 0, self.huge, 1e-9)
        huge = [self.huge * random, self.huge + random]
        points = [zero, zero + 1, zero - 0.5, random.round(), 1e-9 * random, mixed, *huge]
        return torch.cat([*points, self.feasible_points(3)])


def cases(kind: type[ClosedFormSet]) -> Iterator[Case]:
    """Yield each example of a set twice: with constants, and with all data as parameters that may be."""
    for number, example in enumerate(kind.examples()):
        data = {key: value for key, value in example.items() if key not in ("size", "fixed")}
        variable = cp.Variable(example["size"], name="x")
        yield Case(kind, f"{kind.__name__}-{number}", variable, kind.constraints(variable, **data), [])
        free = {key: value for key, value in data.items() if key not in example.get("fixed", ())}
        if free:
            yield _parametric(kind, f"{kind.__name__}-{number}-parametric", example["size"], data, free)


def _parametric(
    kind: type[ClosedFormSet], name: str, size: tuple[int, ...], data: Mapping[str, Any], free: Mapping[str, Any]
) -> Case:
    variable = cp.Variable(size, name="x")
    parameters = {key: cp.Parameter(np.shape(value), name=key, value=value) for key, value in free.items()}
    constraints = kind.constraints(variable, **{**data, **parameters})
    return Case(kind, name, variable, constraints, list(parameters.values()))
