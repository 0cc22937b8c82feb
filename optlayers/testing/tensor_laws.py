"""Laws of tensors: batches, strides, types, and torch's transforms."""

import copy
import pickle

import torch
from torch import Tensor

from optlayers.testing.cases import Case
from optlayers.testing.law import assert_close, law, scale_of, value_and_gradients


@law("constants")
def takes_batches(case: Case) -> None:
    """Any batch dimensions and strides: each sample is projected alone."""
    v = case.random_points(6)
    loop = torch.stack([case.project(row) for row in v])
    assert_close(case.project(v), loop, 1.0, case.repeatability)
    assert_close(case.project(v.reshape(2, 3, *case.shape)), loop.reshape(2, 3, *case.shape), 1.0, case.repeatability)
    assert case.project(v[:0]).shape == (0, *case.shape)
    assert case.project(v[:0].reshape(0, 3, *case.shape)).shape == (0, 3, *case.shape)
    assert_close(case.project(v.repeat_interleave(2, 0)[::2]), loop, 1.0, case.repeatability)
    assert_close(case.project(v.movedim(0, -1).contiguous().movedim(-1, 0)), loop, 1.0, case.repeatability)


@law("parameters")
def takes_batched_parameters(case: Case) -> None:
    """Parameters that carry the batch give what each sample's own parameters give."""
    v = case.random_points(3)
    factors = torch.tensor([1.0, 0.9, 1.2], dtype=torch.float64)
    values = [factors.reshape(-1, *[1] * value.ndim) * value for value in case.values()]
    loop = torch.stack([case.project(row, *data) for row, *data in zip(v, *values, strict=True)])
    assert_close(case.project(v, *values), loop, 1.0, case.repeatability)
    if values:
        assert_close(case.project(v[0], *values)[:1], loop[:1], 1.0, case.repeatability)


@law()
def keeps_dtypes(case: Case) -> None:
    """The result has the input's dtype; float32 is accurate to 1e-5, half types are computed in float32."""
    v = case.random_points()
    exact = case.project(v)
    single = case.feasible_set.bind(*case.values(torch.float32)).project(v.float())
    assert single.dtype == torch.float32
    assert_close(single.double(), exact, scale_of(v, exact), 1e-5)
    for dtype in (torch.bfloat16, torch.float16):
        half = case.feasible_set.bind(*case.values(torch.float32)).project(v.to(dtype))
        assert half.dtype == dtype
        assert_close(half.double(), case.project(v.to(dtype).double()), scale_of(v, exact), torch.finfo(dtype).eps)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(case.project(v.float()).double(), exact, scale_of(v, exact), 1e-5)


@law("parameters")
def maps_under_vmap(case: Case) -> None:
    """`torch.func.vmap` over points and parameters gives what the batch gives; so do Jacobians under it."""
    v = case.random_points(3)
    assert_close(torch.func.vmap(case.project)(v), case.project(v), 1.0, case.repeatability)
    jacobians = torch.func.vmap(torch.func.jacrev(case.project))(v)
    forward = torch.func.vmap(torch.func.jacfwd(case.project))(v)
    assert_close(jacobians, forward, 1.0, case.accuracy)
    if case.parameters:
        values = [torch.stack([value, value]) for value in case.values()]
        assert_close(
            torch.func.vmap(case.project)(v[:2], *values), case.project(v[:2], *values), 1.0, case.repeatability
        )


@law("parameters")
def compiles(case: Case) -> None:
    """`torch.compile(fullgraph=True)` gives what eager mode gives, forward and backward."""

    def run(v: Tensor, *values: Tensor) -> Tensor:
        return case.feasible_set.bind(*values).project(v)

    torch.compiler.reset()
    forms = (torch.compile(run, fullgraph=True, backend="aot_eager"), run)
    results = (value_and_gradients(form, case.random_points(3), *case.values()) for form in forms)
    (compiled, *gradients), (eager, *expected) = results
    assert_close(compiled, eager, 1.0, case.repeatability)
    for one, other in zip(gradients, expected, strict=True):
        assert_close(one, other, scale_of(other), max(1e-10, case.repeatability))


@law("parameters")
def copies(case: Case) -> None:
    """Deep copies and pickles project alike."""
    v, values = case.random_points(2), case.values()
    for other in (copy.deepcopy(case.feasible_set), pickle.loads(pickle.dumps(case.feasible_set))):
        assert_close(other.bind(*values).project(v), case.project(v), 1.0, 0.0)


@law("parameters")
def ignores_the_default_dtype(case: Case) -> None:
    """Values and gradients are the same whatever torch's default dtype is, and the set is made under it."""
    default, results = torch.get_default_dtype(), []
    try:
        for other in (torch.float32, torch.float64):
            torch.set_default_dtype(other)
            feasible_set, outcome = case.make(), []
            for dtype in (torch.float32, torch.float64):
                v = case.random_points(3).to(dtype).requires_grad_()
                bound = feasible_set.bind(*case.values(dtype))
                y = bound.project(v)
                outcome += [y, *torch.autograd.grad(y.square().sum(), v), bound.violation(v)]
            results.append(outcome)
    finally:
        torch.set_default_dtype(default)
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype
        assert_close(one.double(), other.double(), scale_of(one), max(case.repeatability, torch.finfo(one.dtype).eps))
