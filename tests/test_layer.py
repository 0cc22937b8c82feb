"""The contract of the layer and of the set: shapes, dtypes, parameters, copies."""

import copy
import io
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

from optlayers import FeasibleSet, ProjectionLayer


def simplex(**options):
    w = cp.Variable(4, name="w")
    return ProjectionLayer([w >= 0, cp.sum(w) == 1], **options)


def capped(**options):
    w = cp.Variable(4, name="w")
    cap = cp.Parameter(4, name="cap", nonneg=True)
    total = cp.Parameter(name="total")
    return ProjectionLayer([w >= 0, w <= cap, cp.sum(w) == total], parameters=[cap, total], **options)


def test_goes_into_sequential():
    w = cp.Variable(20, name="w")
    net = nn.Sequential(nn.Linear(64, 20), ProjectionLayer([w >= 0, cp.sum(w) == 1, w <= 0.2]))
    y = net(torch.randn(32, 64))
    assert y.shape == (32, 20)
    torch.testing.assert_close(y.sum(-1), torch.ones(32))
    assert float(y.detach().min()) >= 0
    assert bool((y <= torch.tensor(0.2)).all())
    y.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,), (2, 0, 3), (1, 1, 1, 2)])
def test_batch_dimensions(batch):
    v = torch.randn(*batch, 4)
    y = simplex()(v)
    assert y.shape == v.shape
    flat = v.reshape(-1, 4)
    for k in range(len(flat)):
        torch.testing.assert_close(y.reshape(-1, 4)[k], simplex()(flat[k]))


def test_strides():
    v = torch.randn(4, 6, 5).permute(1, 2, 0)[::2]
    assert not v.is_contiguous()
    torch.testing.assert_close(simplex()(v), simplex()(v.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtype_is_kept_and_so_is_the_gradients(dtype):
    v = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    layer = simplex()
    y = layer(v)
    y.sum().backward()
    assert y.dtype == v.grad.dtype == dtype
    for converted in (layer.double(), layer.half(), layer.float(), layer.to("cpu")):
        assert torch.equal(converted(v), y)


def test_float32_point_with_float64_parameters():
    y = capped()(torch.zeros(4), torch.full((4,), 0.5, dtype=torch.float64), 1.0)
    assert y.dtype == torch.float32


def test_scalar_matrix_and_cube_variables():
    x = cp.Variable(name="x")
    torch.testing.assert_close(ProjectionLayer([x <= 1])(torch.tensor([0.5, 2.0])), torch.tensor([0.5, 1.0]))
    m = cp.Variable((2, 3))
    y = ProjectionLayer([cp.sum(m, axis=1) == np.array([1.0, 2.0])])(torch.zeros(5, 2, 3))
    torch.testing.assert_close(y.sum(-1), torch.tensor([1.0, 2.0]).expand(5, 2))
    c = cp.Variable((2, 3, 4))
    y = ProjectionLayer([cp.sum(c, axis=2) == 1, c >= 0])(torch.randn(2, 3, 4))
    torch.testing.assert_close(y.sum(-1), torch.ones(2, 3))


def test_several_variables():
    x, y = cp.Variable(2, name="x"), cp.Variable((2, 2), name="y")
    layer = ProjectionLayer([cp.sum(x) + cp.sum(y) == 1], variables=[x, y])
    a, b = layer(torch.zeros(3, 2), torch.zeros(3, 2, 2))
    torch.testing.assert_close(a, torch.full((3, 2), 1 / 6))
    torch.testing.assert_close(b, torch.full((3, 2, 2), 1 / 6))
    a, b = layer(torch.zeros(2), torch.zeros(3, 2, 2))  # batches broadcast
    assert a.shape == (3, 2)
    with pytest.raises(ValueError, match="expected 2 points"):
        layer(torch.zeros(2))


def test_parameters_by_position_and_by_name():
    layer, v = capped(), torch.randn(3, 4)
    caps, total = torch.full((4,), 0.5), torch.tensor(1.5)
    y = layer(v, caps, total)
    assert torch.equal(y, layer(v, cap=caps, total=total))
    assert torch.equal(y, layer(v, caps, total=1.5))
    assert torch.equal(y, layer.feasible_set.bind(caps).bind(total=total).project(v))
    torch.testing.assert_close(y.sum(-1), torch.full((3,), 1.5))


def test_parameters_carry_or_share_the_batch():
    layer = capped()
    totals = torch.tensor([0.5, 1.0, 1.5])
    y = layer(torch.zeros(3, 4), torch.ones(4), totals)
    torch.testing.assert_close(y.sum(-1), totals)
    y = layer(torch.zeros(4), torch.ones(4), totals)
    torch.testing.assert_close(y.sum(-1), totals)
    y = layer(torch.zeros(2, 1, 4), torch.ones(3, 4), totals)
    assert y.shape == (2, 3, 4)


def test_gradients_reach_parameters():
    layer = capped()
    caps = torch.full((4,), 0.4, requires_grad=True)
    total = torch.tensor(1.0, requires_grad=True)
    layer(torch.tensor([3.0, 0.5, 0.4, -1.0]), caps, total).sum().backward()
    torch.testing.assert_close(total.grad, torch.tensor(1.0))
    torch.testing.assert_close(caps.grad, torch.zeros(4))


def test_parameter_in_variable_bounds():
    cap = cp.Parameter(3, name="cap")
    x = cp.Variable(3, bounds=[0, cap])
    layer = ProjectionLayer([], x)
    torch.testing.assert_close(layer(torch.full((3,), 5.0), cap=torch.arange(3.0)), torch.arange(3.0))


def test_set_and_layer_share_one_object():
    w = cp.Variable(4)
    feasible_set = FeasibleSet([w >= 0, cp.sum(w) == 1])
    layer = ProjectionLayer(feasible_set)
    assert layer.feasible_set is feasible_set
    with pytest.raises(ValueError, match="carries its variables"):
        ProjectionLayer(feasible_set, w)


def test_violation_residual_contains():
    w = cp.Variable(3)
    feasible_set = FeasibleSet([w >= 0, cp.sum(w) == 1, cp.norm(w) <= 0.9])
    inside, outside = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([1.0, -0.5, 0.5])
    assert feasible_set.contains(inside)
    assert not feasible_set.contains(outside)
    torch.testing.assert_close(feasible_set.violation(torch.stack([inside, outside])), torch.tensor([0.0, 0.5]))
    assert feasible_set.residual(inside).shape == (1 + 3 + 4,)


def test_violation_is_differentiable():
    w = cp.Variable(3)
    p = cp.Parameter(name="p")
    feasible_set = FeasibleSet([w >= 0, cp.sum(w) == p, cp.norm(w) <= p])
    v = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    q = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda v, q: feasible_set.bind(q).residual(v), (v, q))


def test_solution():
    solution = simplex().solve(torch.tensor([[0.6, 0.8, -1.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    torch.testing.assert_close(solution.value[0], torch.tensor([0.4, 0.6, 0.0, 0.0]))
    assert solution.solved.tolist() == [True, True]
    assert float(solution.residual.max()) <= 1e-6
    assert solution.steps.tolist() == [0, 0]


def test_copies_and_files():
    layer, v = capped(), torch.randn(3, 4)
    arguments = (torch.full((4,), 0.5), torch.tensor(1.0))
    y = layer(v, *arguments)
    assert torch.equal(copy.deepcopy(layer)(v, *arguments), y)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(v, *arguments), y)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(v, *arguments), y)
    assert layer.state_dict() == {}
    layer.load_state_dict(layer.state_dict())
    assert list(layer.parameters()) == []


def test_under_inference_mode_then_training():
    layer, v = capped(), torch.randn(3, 4, dtype=torch.float32)
    with torch.inference_mode():
        layer(v, torch.ones(4), 1.0)
    v.requires_grad_()
    layer(v, torch.ones(4), 1.0).sum().backward()


def test_a_set_made_inside_a_transform():
    made = []

    def project(v):
        made.append(simplex())
        return made[-1](v)

    v = torch.randn(3, 4)
    y = torch.func.vmap(torch.func.grad(lambda v: project(v).square().sum()))(v)
    assert y.shape == v.shape
    torch.testing.assert_close(copy.deepcopy(made[-1])(v), simplex()(v))


def test_exports():
    v = torch.randn(3, 4)
    layer = simplex()
    program = torch.export.export(layer, (v,))
    torch.testing.assert_close(program.module()(v), layer(v))


def test_compiles_with_inductor_free_backend_and_keeps_bad_rows_apart():
    layer = simplex()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    v = torch.randn(3, 4)
    v[1, 2] = torch.nan
    y = compiled(v)
    assert bool(y[1].isnan().all())
    torch.testing.assert_close(y[[0, 2]], layer(v[[0, 2]]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
def test_compiles_with_inductor():
    layer, v = capped(), torch.randn(5, 4, requires_grad=True)
    arguments = (torch.full((4,), 0.5, requires_grad=True), torch.tensor(1.0, requires_grad=True))
    results = []
    for project in (layer, torch.compile(layer, fullgraph=True)):
        y = project(v, *arguments)
        results.append([y, *torch.autograd.grad(y.square().sum(), [v, *arguments])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_huge_products():
    n = 100_000
    x = cp.Variable(n)
    layer = ProjectionLayer([x >= 0, cp.sum(x) == 1])
    y = layer(torch.randn(n))
    torch.testing.assert_close(y.sum(), torch.tensor(1.0))
