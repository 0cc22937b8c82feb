"""Cases to test a set on: its examples, with data as constants and as parameters, and points that tell."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet, Method, OnFailure
from optlayers.sets.base import ClosedFormSet
from optlayers.testing.outside import farthest_points

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
    data : str
        "constants" or "parameters" of the two cases of an example; "any" of a case alone.
    constants : Case or None
        The case with constants, of a case with the same data as parameters.
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
    data: Literal["any", "constants", "parameters"] = "any"
    constants: "Case | None" = None

    @cached_property
    def feasible_set(self) -> FeasibleSet:
        """The set without parameter values."""
        return self.make()

    @cached_property
    def bound(self) -> FeasibleSet:
        """The set with the example's own parameter values."""
        return self.feasible_set.bind(*self.values())

    def make(self, on_failure: OnFailure = "raise") -> FeasibleSet:
        """Return the set anew, with another policy for failures."""
        return FeasibleSet(self.constraints, self.variable, self.parameters, method=self.method, on_failure=on_failure)

    def on_general_solver(self) -> "Case":
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
        """Return points of the set near its boundary, and convex combinations of them, which lie inside.

        They are made from the constraints alone: the farthest points in random directions (up to a distance, should the
        set be unbounded), by CVXPY with Clarabel, moved a little towards their mean, and onto the equalities.
        """
        if self.constants is not None:
            return self.constants.feasible_points(count)
        near = self._farthest[:count]
        weights = torch.softmax(torch.linspace(-1, 1, count * count, dtype=torch.float64).reshape(count, count), -1)
        return torch.cat([near, (weights @ near.reshape(count, -1)).reshape(near.shape)])

    @cached_property
    def _farthest(self) -> Tensor:
        return torch.as_tensor(farthest_points(self.constraints, self.variable, self.random_points().numpy()))

    def special_points(self) -> Tensor:
        """Return points that break naive code: zero, ties, huge, tiny, feasible, on the boundary."""
        zero = torch.zeros(1, *self.shape, dtype=torch.float64)
        random = self.random_points(2)
        mixed = random * torch.where(random > 0, self.huge, 1e-9)
        huge = [self.huge * random, self.huge + random]
        points = [zero, zero + 1, zero - 0.5, random.round(), 1e-9 * random, mixed, *huge]
        return torch.cat([*points, self.project(self.random_points(3)), self.feasible_points(3)])


def cases(kind: type[ClosedFormSet]) -> Iterator[Case]:
    """Yield each example of a set with constants, and then with all data as parameters that may be."""
    for number, example in enumerate(kind.examples()):
        data = {key: value for key, value in example.items() if key not in ("size", "fixed")}
        free = {key: value for key, value in data.items() if key not in example.get("fixed", ())}
        name, variable = f"{kind.__name__}-{number}", cp.Variable(example["size"], name="x")
        case = Case(kind, name, variable, kind.constraints(variable, **data), [])
        if not free:
            yield case
            continue
        yield (case := replace(case, data="constants"))
        parameters = {key: cp.Parameter(np.shape(value), name=key, value=value) for key, value in free.items()}
        constraints = kind.constraints(variable, **{**data, **parameters})
        given = list(parameters.values())
        yield Case(kind, f"{name}-parametric", variable, constraints, given, data="parameters", constants=case)
