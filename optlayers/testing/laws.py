"""The laws that every projection must obey; each takes a case and raises AssertionError."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from optlayers.sets.base import REGISTRY
from optlayers.testing.cases import Case

Law = Callable[[Case], None]
LAWS: dict[str, Law] = {}

_EXACT = 1e-9  # the accuracy that float64 promises closed forms, relative to the data
_REFERENCE = 1e-6  # that of CVXPY with Clarabel
_TWO_ROUTES = 1e-8  # to which a closed form and the general solver agree


def law(function: Law) -> Law:
    """Add a law to the list."""
    LAWS[function.__name__] = function
    return function


def _scale(*tensors: Tensor) -> float:
    return max([1.0, *(float(t.detach().abs().max()) for t in tensors if t.numel())])


def _close(one: Tensor, other: Tensor, scale: float, tolerance: float = _EXACT) -> None:
    gap = float((one - other).detach().abs().max()) if one.numel() else 0.0
    assert gap <= tolerance * scale, f"differ by {gap:.2e}, allowed {tolerance * scale:.2e}"


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


def _flat(points: Tensor, case: Case) -> Tensor:
    return points.reshape(*points.shape[: points.ndim - len(case.shape)], -1)


@law
def is_recognised(case: Case) -> None:
    """The set is recognised from its own constraints, and no other set claims it; or it runs on the general solver."""
    pieces = case.feasible_set._compiled.pieces
    if case.kind is None or case.method == "general":
        assert case.feasible_set.method == "general", case.feasible_set.explain()
        return
    assert case.feasible_set.method == "closed_form", case.feasible_set.explain()
    for piece in pieces:
        for block in piece.matched:
            claims = [kind.__name__ for kind in {*REGISTRY, case.kind} if kind.match(block) is not None]
            assert len(claims) == 1, f"claimed by {claims}"
    assert case.kind in {piece.kind for piece in pieces}, case.feasible_set.explain()


@law
def is_idempotent(case: Case) -> None:
    """``P(P(v)) = P(v)``."""
    v = torch.cat([case.random_points(), case.special_points()])
    once = case.project(v)
    for row, y, again in zip(v, once, case.project(once), strict=True):
        _close(again, y, _scale(row), case.repeatability if _scale(row) < 1e6 else case.accuracy)


@law
def fixes_feasible_points(case: Case) -> None:
    """``P(z) = z`` for feasible `z`."""
    z = case.feasible_points()
    _close(case.project(z), z, _scale(z), case.accuracy)


@law
def is_feasible(case: Case) -> None:
    """CVXPY finds the constraints satisfied at the projection."""
    v = torch.cat([case.random_points(), case.special_points()])
    for row, y in zip(v, case.project(v), strict=True):
        case.variable.save_value(y.numpy())
        for constraint in case.constraints:
            size = max([_scale(row), *(float(np.abs(c.value).max(initial=0)) for c in constraint.constants())])
            assert _holds(constraint, case.accuracy * size), f"violates {constraint} at {row}"


@law
def agrees_with_own_residual(case: Case) -> None:
    """The library's residual vanishes at the projection and does not elsewhere."""
    bound = case.feasible_set.bind(*case.values())
    v = case.random_points()
    y = bound.project(v)
    assert float(bound.violation(y).max()) <= 1e-7
    moved = (_flat(v, case) - _flat(y, case)).norm(dim=-1) > 1e-6
    assert bool((bound.violation(v) > 0)[moved].all())


@law
def is_nonexpansive(case: Case) -> None:
    """``||P(u) - P(v)|| <= ||u - v||``."""
    u = case.random_points(8)
    v = u.flip(0) + 0.1
    moved = (_flat(case.project(u), case) - _flat(case.project(v), case)).norm(dim=-1)
    assert bool((moved <= (_flat(u, case) - _flat(v, case)).norm(dim=-1) * (1 + case.accuracy)).all())


@law
def obeys_variational_inequality(case: Case) -> None:
    """``<v - P(v), z - P(v)> <= 0`` for all feasible `z`: the definition of the nearest point."""
    z = _flat(case.feasible_points(), case)
    v = torch.cat([case.random_points(), case.special_points()])
    for row, y in zip(_flat(v, case), _flat(case.project(v), case), strict=True):
        products = (z - y) @ (row - y)
        assert float(products.max()) <= case.accuracy * _scale(row) * _scale(row, z) * len(row)


@law
def agrees_with_cvxpy(case: Case) -> None:
    """The answer is that of CVXPY with Clarabel, as far as Clarabel's accuracy goes.

    Clarabel may stop early on one way to write the distance; then the other one decides.
    """
    point = cp.Parameter(case.shape)
    objectives = (cp.sum_squares(case.variable - point), cp.norm(cp.vec(case.variable - point, order="C")))
    for row in case.random_points(3):
        point.value, y = row.numpy(), case.project(row)
        for last, objective in enumerate(objectives):
            problem = cp.Problem(cp.Minimize(objective), case.constraints)
            with warnings.catch_warnings():  # Clarabel stops a little short of such tolerances, and says so
                warnings.simplefilter("ignore", UserWarning)
                problem.solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
            expected = torch.as_tensor(np.asarray(case.variable.value), dtype=torch.float64)
            scale = _scale(row, expected)
            if last or float((y - expected).abs().max()) <= _REFERENCE * scale:
                _close(y, expected, scale, _REFERENCE)
                break


@law
def agrees_with_general_solver(case: Case) -> None:
    """The answer, and its derivatives, are those of the general solver: two routes that share no formula."""
    if case.feasible_set.method == "general":
        return
    other = case.on_general_solver()
    v, values = case.random_points(), case.values()
    leaves = [t.requires_grad_() for t in (v, *values)]
    results = []
    for project in (case.project, other.project):
        y = project(v, *values)
        weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
        results.append([y, *torch.autograd.grad((y * weight).sum(), leaves)])
    for one, another in zip(*results, strict=True):
        _close(one, another, _scale(v, one), _TWO_ROUTES)


@law
def knows_when_it_is_empty(case: Case) -> None:
    """With its parameters changed at random, the set is said to be empty just where CVXPY finds it so."""
    rng = np.random.default_rng(0)
    originals = [np.asarray(p.value) for p in case.parameters]
    lenient, nearest = case.make("nan"), case.make("nearest")
    point = torch.zeros(case.shape, dtype=torch.float64)
    try:
        for trial in range(8 if case.parameters else 0):
            for parameter, original in zip(case.parameters, originals, strict=True):
                changed = rng.random() < 0.5
                parameter.value = original + changed * rng.normal(size=original.shape) * (1 + trial)
            problem = cp.Problem(cp.Minimize(0), case.constraints)
            problem.solve(cp.CLARABEL)
            values = case.values()
            solved = bool(lenient.bind(*values).solve(point).solved)
            assert solved == (problem.status != cp.INFEASIBLE), f"{problem.status}, but solved={solved} at {values}"
            assert bool(nearest.bind(*values).project(point).isfinite().all())
    finally:
        for parameter, original in zip(case.parameters, originals, strict=True):
            parameter.value = original


@law
def passes_gradcheck(case: Case) -> None:
    """Reverse and forward derivatives, in the point and every parameter, are those of finite differences."""
    v = case.random_points(2).requires_grad_()
    values = [value.requires_grad_() for value in case.values()]
    fast = case.feasible_set.method == "general"
    step = 1e-6 if case.is_polyhedral or not fast else 1e-4  # the solver's accuracy must not drown the difference
    torch.autograd.gradcheck(
        case.project, (v, *values), eps=step, check_forward_ad=True, check_batched_grad=True, fast_mode=fast
    )


@law
def passes_gradgradcheck(case: Case) -> None:
    """Second derivatives are those of finite differences, or refused; the general solver has them for polyhedra."""
    if case.feasible_set.method == "general" and not case.is_polyhedral:
        return
    v = case.random_points(1).requires_grad_()
    values = [value.requires_grad_() for value in case.values()]
    if case.kind is not None and case.feasible_set.method != "general" and not case.kind.is_twice_differentiable:
        first = torch.autograd.grad(case.project(v, *values).square().sum(), (v, *values), create_graph=True)
        for gradient in first:
            try:
                torch.autograd.grad(gradient.sum(), v, retain_graph=True)
            except NotImplementedError:
                continue
            raise AssertionError("second derivatives are neither refused nor promised")
        return
    fast = case.feasible_set.method == "general"
    torch.autograd.gradgradcheck(case.project, (v, *values), atol=1e-4, fast_mode=fast)


@law
def has_adjoint_derivatives(case: Case) -> None:
    """``<u, J w> = <J' u, w>``."""
    v, w, u = case.random_points(3)
    forward = torch.func.jvp(case.project, (v,), (w,))[1]
    pull = torch.func.vjp(case.project, v)[1]
    (backward,) = pull(u)
    _close((u * forward).sum(), (backward * w).sum(), _scale(u) * _scale(w), case.accuracy)


@law
def has_projection_jacobian(case: Case) -> None:
    """The Jacobian in the point is symmetric, with eigenvalues in [0, 1], and finite, at kinks too."""
    n = max(1, int(np.prod(case.shape)))
    v = torch.cat([case.random_points(2), case.special_points()])
    jacobians = torch.autograd.functional.jacobian(lambda v: case.project(v).sum(0), v)
    assert isinstance(jacobians, Tensor)
    for row, jacobian in zip(v, jacobians.reshape(n, len(v), n).unbind(1), strict=True):
        assert bool(jacobian.isfinite().all()), f"not finite at {row}"
        _close(jacobian, jacobian.T, 1.0, 1e-7)
        eigenvalues = torch.linalg.eigvalsh(jacobian)
        outside = torch.maximum(-eigenvalues, eigenvalues - 1)
        assert float(outside.max()) <= 1e-7, f"eigenvalues {eigenvalues} at {row}"


@law
def has_finite_gradients(case: Case) -> None:
    """Gradients in the point and every parameter are finite everywhere."""
    v = case.special_points().requires_grad_()
    values = [value.requires_grad_() for value in case.values()]
    y = case.project(v, *values)
    for gradient in torch.autograd.grad(y.sum(), [v, *values], allow_unused=True, materialize_grads=True):
        assert bool(gradient.isfinite().all())


@law
def takes_batches(case: Case) -> None:
    """Any batch dimensions and strides: each sample is projected alone."""
    v = case.random_points(6)
    loop = torch.stack([case.project(row) for row in v])
    _close(case.project(v), loop, 1.0, case.repeatability)
    _close(case.project(v.reshape(2, 3, *case.shape)), loop.reshape(2, 3, *case.shape), 1.0, case.repeatability)
    assert case.project(v[:0]).shape == (0, *case.shape)
    assert case.project(v[:0].reshape(0, 3, *case.shape)).shape == (0, 3, *case.shape)
    _close(case.project(v.repeat_interleave(2, 0)[::2]), loop, 1.0, case.repeatability)
    _close(case.project(v.movedim(0, -1).contiguous().movedim(-1, 0)), loop, 1.0, case.repeatability)


@law
def takes_batched_parameters(case: Case) -> None:
    """Parameters that carry the batch give what each sample's own parameters give."""
    v = case.random_points(3)
    factors = torch.tensor([1.0, 0.9, 1.2], dtype=torch.float64)
    values = [factors.reshape(-1, *[1] * value.ndim) * value for value in case.values()]
    loop = torch.stack([case.project(row, *own) for row, *own in zip(v, *values, strict=True)])
    _close(case.project(v, *values), loop, 1.0, case.repeatability)
    if values:
        _close(case.project(v[0], *values)[:1], loop[:1], 1.0, case.repeatability)


@law
def keeps_dtypes(case: Case) -> None:
    """The result has the input's dtype; float32 is accurate to 1e-5, half types are computed in float32."""
    v = case.random_points()
    exact = case.project(v)
    single = case.feasible_set.bind(*case.values(torch.float32)).project(v.float())
    assert single.dtype == torch.float32
    _close(single.double(), exact, _scale(v, exact), 1e-5)
    for dtype in (torch.bfloat16, torch.float16):
        half = case.feasible_set.bind(*case.values(torch.float32)).project(v.to(dtype))
        assert half.dtype == dtype
        _close(half.double(), case.project(v.to(dtype).double()), _scale(v, exact), torch.finfo(dtype).eps)
    with torch.autocast("cpu", torch.bfloat16):
        _close(case.project(v.float()).double(), exact, _scale(v, exact), 1e-5)


@law
def maps_under_vmap(case: Case) -> None:
    """`torch.func.vmap` over points and parameters gives what the batch gives; so do Jacobians under it."""
    v = case.random_points(3)
    _close(torch.func.vmap(case.project)(v), case.project(v), 1.0, case.repeatability)
    jacobians = torch.func.vmap(torch.func.jacrev(case.project))(v)
    forward = torch.func.vmap(torch.func.jacfwd(case.project))(v)
    _close(jacobians, forward, 1.0, case.accuracy)
    if case.parameters:
        values = [torch.stack([value, value]) for value in case.values()]
        _close(torch.func.vmap(case.project)(v[:2], *values), case.project(v[:2], *values), 1.0, case.repeatability)


@law
def compiles(case: Case) -> None:
    """`torch.compile(fullgraph=True)` gives what eager mode gives, forward and backward."""
    v = case.random_points(3).requires_grad_()
    bound = case.feasible_set
    values = [value.requires_grad_() for value in case.values()]

    def run(v: Tensor, *values: Tensor) -> Tensor:
        return bound.bind(*values).project(v)

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(v, *values)
    eager = run(v, *values)
    _close(compiled, eager, 1.0, case.repeatability)
    weight = torch.linspace(-1, 1, eager.numel(), dtype=torch.float64).reshape(eager.shape)
    for one, other in zip(
        torch.autograd.grad((compiled * weight).sum(), [v, *values]),
        torch.autograd.grad((eager * weight).sum(), [v, *values]),
        strict=True,
    ):
        _close(one, other, _scale(other), max(1e-10, case.repeatability))


@law
def copies(case: Case) -> None:
    """Deep copies and pickles project alike."""
    v, values = case.random_points(2), case.values()
    for other in (copy.deepcopy(case.feasible_set), pickle.loads(pickle.dumps(case.feasible_set))):
        _close(other.bind(*values).project(v), case.project(v), 1.0, 0.0)
