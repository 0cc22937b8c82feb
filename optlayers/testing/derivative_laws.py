"""Laws of derivatives."""

import numpy as np
import torch
from torch import Tensor

from optlayers.testing.cases import Case
from optlayers.testing.law import assert_close, law, scale_of


@law("parameters")
def passes_gradcheck(case: Case) -> None:
    """Reverse and forward derivatives, in the point and every parameter, are those of finite differences."""
    v = case.random_points(2).requires_grad_()
    values = [value.requires_grad_() for value in case.values()]
    fast = case.feasible_set.method == "general"
    step = 1e-6 if case.is_polyhedral or not fast else 1e-4  # the solver's accuracy must not drown the difference
    torch.autograd.gradcheck(
        case.project, (v, *values), eps=step, check_forward_ad=True, check_batched_grad=True, fast_mode=fast
    )


@law("parameters")
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


@law("constants")
def has_adjoint_derivatives(case: Case) -> None:
    """``<u, J w> = <J' u, w>``."""
    v, w, u = case.random_points(3)
    forward = torch.func.jvp(case.project, (v,), (w,))[1]
    pull = torch.func.vjp(case.project, v)[1]
    (backward,) = pull(u)
    assert_close((u * forward).sum(), (backward * w).sum(), scale_of(u) * scale_of(w), case.accuracy)


@law("constants")
def has_projection_jacobian(case: Case) -> None:
    """The Jacobian in the point is symmetric, with eigenvalues in [0, 1], and finite, at kinks too."""
    n = max(1, int(np.prod(case.shape)))
    v = torch.cat([case.random_points(2), case.special_points()])
    jacobians = torch.autograd.functional.jacobian(lambda v: case.project(v).sum(0), v)
    assert isinstance(jacobians, Tensor)
    for row, jacobian in zip(v, jacobians.reshape(n, len(v), n).unbind(1), strict=True):
        assert bool(jacobian.isfinite().all()), f"not finite at {row}"
        assert_close(jacobian, jacobian.T, 1.0, 1e-7)
        eigenvalues = torch.linalg.eigvalsh(jacobian)
        outside = torch.maximum(-eigenvalues, eigenvalues - 1)
        assert float(outside.max()) <= 1e-7, f"eigenvalues {eigenvalues} at {row}"


@law("parameters")
def has_finite_gradients(case: Case) -> None:
    """Gradients in the point and every parameter are finite everywhere."""
    v = case.special_points().requires_grad_()
    values = [value.requires_grad_() for value in case.values()]
    y = case.project(v, *values)
    for gradient in torch.autograd.grad(y.sum(), [v, *values], allow_unused=True, materialize_grads=True):
        assert bool(gradient.isfinite().all())


@law("parameters")
def keeps_derivatives_under_autocast(case: Case) -> None:
    """Derivatives of single precision are the same inside an autocast region, in all modes."""
    weight, *points = case.random_points(3).float()
    v, direction = points
    values = [value.requires_grad_() for value in case.values(torch.float32)]

    def loss(v: Tensor) -> Tensor:
        return (case.project(v, *values) * weight).sum()

    def derivatives() -> list[Tensor]:
        leaf = v.clone().requires_grad_()
        gradients = torch.autograd.grad(loss(leaf), [leaf, *values], create_graph=True)
        functional = torch.func.grad(loss)(v)
        return [*gradients, functional, torch.func.jvp(case.project, (v,), (direction,))[1]]

    expected = derivatives()
    with torch.autocast("cpu", torch.bfloat16):
        inside = derivatives()
    for one, other in zip(inside, expected, strict=True):
        assert one.dtype == other.dtype
        assert_close(one, other, scale_of(other), 1e-5)
