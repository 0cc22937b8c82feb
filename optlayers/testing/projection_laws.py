"""Laws of the value: what makes a map the projection onto a set."""

from collections.abc import Callable
from dataclasses import replace

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.sets.base import REGISTRY
from optlayers.testing.cases import Case
from optlayers.testing.law import assert_close, flat, law, scale_of, value_and_gradients


def _holds(constraint: cp.Constraint, slack: float) -> bool:
    """Whether a constraint is violated by at most `slack`.

    What CVXPY says of exponential and power cones comes from a solver; there the point is moved into the cone instead,
    by `slack` in each direction.
    """
    if isinstance(constraint, cp.ExpCone):
        p, q, r = (np.asarray(argument.value).item() for argument in constraint.args)
        return (q + slack) * np.exp((p - slack) / (q + slack)) <= r + slack
    if isinstance(constraint, cp.PowCone3D):
        p, q, r = (np.asarray(argument.value).item() for argument in constraint.args)
        p, q, exponent = p + slack, q + slack, np.asarray(constraint.alpha.value).item()
        return min(p, q) >= 0 and p**exponent * q ** (1 - exponent) >= abs(r)
    return float(np.max(constraint.violation())) <= slack


@law()
def is_recognised(case: Case) -> None:
    """The set is recognised from its own constraints, and no other set claims it; or it runs on the general solver."""
    pieces = case.feasible_set.compiled.pieces
    if case.kind is None or case.method == "general":
        assert case.feasible_set.method == "general", case.feasible_set.explain()
        return
    assert case.feasible_set.method == "closed_form", case.feasible_set.explain()
    for piece in pieces:
        for block in piece.matched:
            claims = [kind.__name__ for kind in {*REGISTRY, case.kind} if kind.match(block) is not None]
            assert len(claims) == 1, f"claimed by {claims}"
    assert case.kind in {piece.kind for piece in pieces}, case.feasible_set.explain()


@law("constants")
def is_idempotent(case: Case) -> None:
    """``P(P(v)) = P(v)``."""
    v = torch.cat([case.random_points(), case.special_points()])
    once = case.project(v)
    for row, y, again in zip(v, once, case.project(once), strict=True):
        assert_close(again, y, scale_of(row), case.repeatability if scale_of(row) < 1e6 else case.accuracy)


@law("constants")
def fixes_feasible_points(case: Case) -> None:
    """``P(z) = z`` for feasible `z`."""
    z = case.feasible_points()
    assert_close(case.project(z), z, scale_of(z), case.accuracy)


@law("constants")
def is_feasible(case: Case) -> None:
    """CVXPY finds the constraints satisfied at the projection."""
    v = torch.cat([case.random_points(), case.special_points()])
    for row, y in zip(v, case.project(v), strict=True):
        case.variable.save_value(y.numpy())
        for constraint in case.constraints:
            size = max([scale_of(row), *(float(np.abs(c.value).max(initial=0)) for c in constraint.constants())])
            assert _holds(constraint, case.accuracy * size), f"violates {constraint} at {row}"


@law()
def agrees_with_residual(case: Case) -> None:
    """The library's residual vanishes at the projection and does not elsewhere."""
    v = case.random_points()
    y = case.bound.project(v)
    assert float(case.bound.violation(y).max()) <= 1e-7
    moved = (flat(v, case) - flat(y, case)).norm(dim=-1) > 1e-6
    assert bool((case.bound.violation(v) > 0)[moved].all())


@law("constants")
def is_nonexpansive(case: Case) -> None:
    """``||P(u) - P(v)|| <= ||u - v||``."""
    u = case.random_points(8)
    v = u.flip(0) + 0.1
    moved = (flat(case.project(u), case) - flat(case.project(v), case)).norm(dim=-1)
    assert bool((moved <= (flat(u, case) - flat(v, case)).norm(dim=-1) * (1 + case.accuracy)).all())


@law("constants")
def obeys_variational_inequality(case: Case) -> None:
    """``<v - P(v), z - P(v)> <= 0`` for all feasible `z`: the definition of the nearest point."""
    z = flat(case.feasible_points(), case)
    v = torch.cat([case.random_points(), case.special_points()])
    for row, y in zip(flat(v, case), flat(case.project(v), case), strict=True):
        products = (z - y) @ (row - y)
        assert float(products.max()) <= case.accuracy * scale_of(row) * scale_of(row, z) * len(row)


@law()
def keeps_to_units(case: Case) -> None:
    """``P_sK(s v) = s P_K(v)``: the set in other units has the same projections and derivatives, in both precisions."""
    if case.feasible_set.method == "general":
        return
    for scale in (1e-9, 1e9):
        project = _in_units(case, scale)
        for dtype, tolerance in ((torch.float64, case.accuracy), (torch.float32, 1e-4)):
            v, values = case.random_points().to(dtype), case.values(dtype)
            expected = value_and_gradients(case.project, v, *values)
            for one, another in zip(value_and_gradients(project, v, *values), expected, strict=True):
                assert_close(one, another, scale_of(v, another), tolerance)


def _in_units(case: Case, scale: float) -> Callable[..., Tensor]:
    """Return the projection as that onto the set times `scale`."""
    renamed = {id(case.variable): case.variable / scale}
    constraints = [constraint.tree_copy(renamed) for constraint in case.constraints]
    other = replace(case, name=f"{case.name} times {scale:g}", constraints=constraints)
    return lambda v, *values: other.project(scale * v, *values) / scale
