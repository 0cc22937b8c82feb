"""The laws that what a set offers besides its projection must obey, one for each oracle, against outside solutions."""

import itertools
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.oracles import ORACLES, entropy_projection, linear_minimum, nearest_integer_point, scaled_set, smooth_map
from optlayers.oracles.oracle import Oracle, ask
from optlayers.oracles.smooth_set import SmoothSet
from optlayers.oracles.weighted_projection import project_scaled
from optlayers.sets.base import ClosedFormSet
from optlayers.testing.cases import Case, cases
from optlayers.testing.law import assert_close, flat, scale_of
from optlayers.testing.outside import minimise

OracleLaw = Callable[[Case], bool]
ORACLE_LAWS: dict[str, OracleLaw] = {}

_REFERENCE = 1e-6  # the accuracy of CVXPY with Clarabel
_MOST_POINTS = 2_000_000  # that are enumerated


def oracle_law(oracle: Oracle) -> Callable[[OracleLaw], OracleLaw]:
    """Add a law of an oracle, which says whether there was an answer to test."""

    def add(function: OracleLaw) -> OracleLaw:
        ORACLE_LAWS[oracle.name] = function
        return function

    return add


def oracles_of(kind: type[ClosedFormSet]) -> list[str]:
    """Return the names of the oracles with a formula for a kind of set, or for a base of it."""
    return [name for name, oracle in ORACLES.items() if {*oracle.kinds} & {*kind.__mro__}]


def check_oracle(kind: type[ClosedFormSet], name: str) -> None:
    """Check an oracle of a set on all its examples; raise AssertionError if none has an answer either."""
    answered = [ORACLE_LAWS[name](case) for case in cases(kind)]
    if kind in ORACLES[name].kinds:
        assert any(answered), f"no example of {kind.__name__} has an answer: {name}"


def _solve(case: Case, objective: Any) -> tuple[str, float]:
    """Return CVXPY's status and optimal value; the minimiser stands in the case's variable."""
    problem = minimise(objective, case.constraints)
    return str(problem.status), float(np.asarray(problem.value))


@oracle_law(linear_minimum)
def minimises_linear_functions(case: Case) -> bool:
    """The point is feasible, and its value that of CVXPY; where that is unbounded, the point is not finite."""
    slopes = torch.cat([case.random_points(3), case.random_points(2).sign(), torch.zeros(1, *case.shape)])
    g, bound = case.bound.prepare(slopes)
    vertices = bound.map_pieces(linear_minimum, g)
    if vertices is None:
        return False
    for slope, s in zip(slopes, vertices.reshape(slopes.shape), strict=True):
        status, value = _solve(case, cp.sum(cp.multiply(slope.numpy(), case.variable)))
        if status.startswith("unbounded"):
            assert not s.isfinite().all(), f"the minimum of {slope} is not bounded, got {s}"
            continue
        assert float(case.bound.violation(s)) <= 1e-9 * scale_of(s), f"not feasible at {slope}"
        assert_close((slope * s).sum(), torch.tensor(value), scale_of(s) * scale_of(slope), _REFERENCE)
    return True


@oracle_law(entropy_projection)
def is_nearest_by_entropy(case: Case) -> bool:
    """The point is feasible, and minimises the divergence's linearisation there over the set, as CVXPY finds."""
    z = case.random_points(4, scale=1.0).exp()
    try:
        nearest = ask(entropy_projection, case.bound, z.log())
    except ValueError:
        return False
    for point, y in zip(z, nearest, strict=True):
        assert float(case.bound.violation(y)) <= 1e-9 * scale_of(y), f"not feasible at {point}"
        slope = (y / point).log()
        status, value = _solve(case, cp.sum(cp.multiply(slope.numpy(), case.variable)))
        assert status.startswith("optimal"), f"the divergence falls without bound at {point}: {status}"
        assert_close((slope * y).sum(), torch.tensor(value), scale_of(y, slope), _REFERENCE)
    return True


@oracle_law(nearest_integer_point)
def is_the_nearest_integer_point(case: Case) -> bool:
    """No integer point of the set is nearer, by enumeration; where there is none, the answer is not feasible."""
    points = torch.cat([case.random_points(4, scale=1.0), case.random_points(2, scale=1.0).round()])
    v, bound = case.bound.prepare(points)
    answers = bound.map_pieces(nearest_integer_point, v)
    if answers is None:
        return False
    reach = 2 if v.shape[-1] <= 6 else 1
    for point, x in zip(v, answers, strict=True):
        center = torch.where(torch.as_tensor(bool(_is_in(bound.residual(x)))), x, point.round())
        ranges = [range(int(c) - reach, int(c) + reach + 1) for c in center]
        assert (2 * reach + 1) ** len(ranges) <= _MOST_POINTS, "an example too large to enumerate"
        grid = torch.tensor(list(itertools.product(*ranges)), dtype=torch.float64)
        grid = grid[_is_in(bound.residual(grid))]
        if not len(grid):
            continue
        assert torch.equal(x, x.round())
        assert bool(_is_in(bound.residual(x))), f"not in the set at {point}"
        best = (grid - point).square().sum(-1).min()
        assert_close((x - point).square().sum(), best, scale_of(best))
    return True


def _is_in(residual: Tensor) -> Tensor:
    return residual.abs().amax(-1) <= 1e-9 if residual.shape[-1] else residual.new_ones(residual.shape[:-1]).bool()


@oracle_law(scaled_set)
def is_nearest_in_a_diagonal_metric(case: Case) -> bool:
    """The point is that of CVXPY with the metric in its objective."""
    points, scales = case.random_points(4), case.random_points(4, scale=0.5).exp().flip(0)
    v, bound = case.bound.prepare(points)
    answers = bound.map_pieces(project_scaled, v, flat(scales, case))
    if answers is None:
        return False
    for point, scale, y in zip(points, scales, answers.reshape(points.shape), strict=True):
        _solve(case, cp.norm(cp.vec(cp.multiply(scale.numpy(), case.variable - point.numpy()), order="C")))
        expected = torch.as_tensor(np.asarray(case.variable.value), dtype=torch.float64)
        assert_close(y, expected, scale_of(point, expected), 1e-5)
    return True


@oracle_law(smooth_map)
def maps_onto_the_interior(case: Case) -> bool:
    """Images are in the relative interior, `inverse` is a right inverse, and points of the boundary are approached.

    A point `y` is in the relative interior where the way to it from any other point of the set goes on beyond it.
    """
    try:
        smooth = SmoothSet.of(case.bound)
    except ValueError:
        return False
    on = case.feasible_points(4)
    for raw in (case.random_points(5, scale=1.0), torch.zeros(1, *case.shape, dtype=torch.float64)):
        y = smooth.forward(raw)
        assert_close(smooth.forward(smooth.inverse(y, 1e-12)), y, scale_of(y), 1e-8)
        beyond = y.unsqueeze(1) + 1e-6 * (y.unsqueeze(1) - on)
        assert float(case.bound.violation(beyond).max()) <= 1e-11 * scale_of(beyond), "not in the interior"
    near = smooth.forward(smooth.inverse(on))
    assert_close(near, on, scale_of(on), 1e-4)
    return True
