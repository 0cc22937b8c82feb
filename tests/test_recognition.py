"""The recogniser goes by rows, not by spelling."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from spellings import PARAMETRIC, SPELLINGS

from optlayers import FeasibleSet, InfeasibleError, ProjectionLayer
from optlayers.parametric.maps import Values
from optlayers.parametric.symbolic import Affine, largest, stack


def points(size=(4,), count=16):
    return 2 * torch.randn(count, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


POINTS = points()


def labels(feasible_set):
    return {line[2:].split(",")[0] for line in feasible_set.explain().splitlines() if line.startswith("- ")}


def build(spelling):
    x = cp.Variable(spelling.size, **spelling.attributes)
    return FeasibleSet(spelling.build(x), x)


@pytest.mark.parametrize("name", SPELLINGS)
def test_has_at_least_five_spellings(name):
    assert len(SPELLINGS[name]) >= 5


@pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name, spellings in SPELLINGS.items() for k in range(len(spellings))]
)
def test_spelling_is_recognised_and_means_the_same(name, k):
    first, spelling = build(SPELLINGS[name][0]), build(SPELLINGS[name][k])
    assert spelling.method == "closed_form"
    assert labels(spelling) == {SPELLINGS[name][k].label}
    v = points(SPELLINGS[name][k].size)
    torch.testing.assert_close(spelling.project(v), first.project(v), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_parametric_data_stay_closed_form(name):
    case = PARAMETRIC[name]
    x, y = cp.Variable(case.size, **case.attributes), cp.Variable(case.size, **case.attributes)
    parameters = [cp.Parameter(np.shape(value)) for value in case.values]
    parametric = FeasibleSet(case.build(x, *parameters), x, parameters)
    constant = FeasibleSet(case.build(y, *map(cp.Constant, case.values)), y)
    assert parametric.method == "closed_form"
    values = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in case.values]
    v = points(case.size)
    torch.testing.assert_close(parametric.bind(*values).project(v), constant.project(v), rtol=0, atol=1e-10)
    few = (v[:3] + 0.01).requires_grad_()
    torch.autograd.gradcheck(lambda v, *p: parametric.bind(*p).project(v), (few, *values))


def test_products_of_blocks_run_as_one_call():
    x = cp.Variable((50, 8), name="X")
    rows = FeasibleSet([cp.sum(x, axis=1) == 1, x >= 0])
    columns = FeasibleSet([cp.sum(x, axis=0) == 1, x >= 0])
    assert len(rows.compiled.pieces) == len(columns.compiled.pieces) == 1
    v = torch.randn(50, 8, dtype=torch.float64)
    y = cp.Variable(8)
    row = FeasibleSet([cp.sum(y) == 1, y >= 0])
    torch.testing.assert_close(rows.project(v), row.project(v))
    z = cp.Variable(50)
    column = FeasibleSet([cp.sum(z) == 1, z >= 0])
    torch.testing.assert_close(columns.project(v), column.project(v.T.contiguous()).T)


def test_a_mixture_of_blocks():
    x = cp.Variable(12, name="x")
    constraints = [
        x[:3] >= 0,
        cp.sum(x[:3]) == 1,
        cp.norm(x[3:6]) <= 0.5,
        x[6] == 2,
        x[6] + x[7] + x[8] == 3,
        cp.abs(x[9]) <= 0.1,
        3 * x[10] <= 6 * x[11],
    ]
    feasible_set = FeasibleSet(constraints)
    assert labels(feasible_set) == {"simplex", "L2 ball", "box", "hyperplane", "half-space"}
    check_against_clarabel(constraints, x, feasible_set)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [],
        lambda x: [x >= 0],
        lambda x: [x >= 0, cp.sum(x) == 1],
        lambda x: [cp.norm(x, "fro") <= 1],
        lambda x: [x <= np.arange(9).reshape(3, 3) / 5, cp.trace(x) == 1],
    ],
)
@pytest.mark.parametrize(
    "attributes", [{"symmetric": True}, {"diag": True}, {"sparsity": ([0, 1, 2, 2], [1, 1, 0, 2])}]
)
def test_attributed_matrices(build, attributes):
    x = cp.Variable((3, 3), **attributes)
    feasible_set = FeasibleSet(build(x), x)
    assert feasible_set.method == "closed_form", feasible_set.explain()
    check_against_clarabel(build(x), x, feasible_set)


def check_against_clarabel(constraints, variable, feasible_set):
    for v in 2 * torch.randn(3, *variable.shape, dtype=torch.float64):
        with warnings.catch_warnings():  # that a sparse variable is read
            warnings.simplefilter("ignore", RuntimeWarning)
            cp.Problem(cp.Minimize(cp.sum_squares(variable - v.numpy())), constraints).solve(cp.CLARABEL)
            value = variable.value
        value = value.toarray() if sp.issparse(value) else value
        torch.testing.assert_close(feasible_set.project(v), torch.as_tensor(value), rtol=0, atol=1e-4)


def test_redundant_rows_are_dropped():
    x = cp.Variable(5)
    feasible_set = FeasibleSet([x >= 0, x <= 1, cp.sum(x) <= 7, cp.sum(x[:2]) >= -1, x[0] - x[1] <= 3, x >= -1])
    assert labels(feasible_set) == {"box"}


def test_what_matters_is_not_dropped():
    x = cp.Variable(5)
    for constraints in (
        [x >= 0, cp.sum(x) == 1, x[0] + x[1] <= 0.5],
        [cp.norm(x) <= 1, x >= 0, cp.sum(x) == 1],
        [cp.norm(x[1:]) <= x[0], x[1] >= 0],
        [cp.norm(x) <= 1, cp.norm(x - 1) <= 2],
        [cp.norm1(x) <= 1, x[0] <= x[1]],
    ):
        assert FeasibleSet(constraints, x).method == "general"


def test_auxiliary_variables_give_the_shadow():
    x, t = cp.Variable(3), cp.Variable()
    ball = FeasibleSet([cp.norm(x) <= t, t <= 2], variables=x)
    v = torch.randn(5, 3, dtype=torch.float64) * 5
    torch.testing.assert_close(ball.project(v), FeasibleSet([cp.norm(x) <= 2]).project(v))
    with pytest.raises(ValueError, match="say which to project"):
        FeasibleSet([cp.norm(x) <= t, t <= 2])


def test_explanation_names_blocks_methods_and_constraints():
    w = cp.Variable(4, name="w")
    layer = ProjectionLayer([w >= 0, cp.sum(w) == 1])
    assert layer.explain().startswith("- simplex, 4 entries, of w (4,): closed form, exact. From constraint 0 (w >= 0)")
    assert "w (4,): simplex, method=closed_form (exact)" in repr(torch.nn.Sequential(layer))
    cut = [cp.norm1(w) <= 1, w[0] <= w[1]]
    general = ProjectionLayer(cut)
    assert "no closed form is used" in general.explain()
    assert "the general solver" in general.explain()
    assert "constraint 0 (norm1(w) <= 1)" in general.explain()
    assert general.method == "general"
    reference = ProjectionLayer(cut, method="cvxpylayers")
    assert "it runs on cvxpylayers, as asked for" in reference.explain()
    assert reference.method == "cvxpylayers"
    with pytest.raises(ValueError, match="not every block has a closed form"):
        ProjectionLayer(cut, method="closed_form")


def test_a_badly_scaled_block_is_not_taken_for_diagonal():
    x = cp.Variable(3)
    matrix = np.array([[1e7, 0, 0], [0, 2, 1], [0, 1, 2]])
    y = FeasibleSet([cp.norm(matrix @ x) <= 1]).project(torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64))
    expected = torch.tensor([0.0, 0.73860, -0.65110], dtype=torch.float64)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-4)


def test_a_normal_that_is_zero():
    x, p, q = cp.Variable(4), cp.Parameter(4), cp.Parameter()
    normal = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    v = torch.tensor([1.0, 2.0, -3.0, 4.0], dtype=torch.float64)
    y = FeasibleSet([p @ x == q, x >= 0], parameters=[p, q]).bind(normal, 0.0).project(v)
    torch.testing.assert_close(y, v.clamp_min(0))
    (gradient,) = torch.autograd.grad(y.sum(), normal)
    assert bool(gradient.isfinite().all())


def test_numbers_as_parameters_keep_the_points_precision():
    x, p = cp.Variable(3), cp.Parameter()
    feasible_set = FeasibleSet([x >= 0, cp.sum(x) == p]).bind(0.1)
    assert abs(float(feasible_set.project(torch.ones(3, dtype=torch.float64)).sum()) - 0.1) < 1e-15
    assert feasible_set.project(torch.ones(3)).dtype == torch.float32


def test_met_bounds_come_from_both_constraints():
    v = torch.tensor([1.5, -2.0, 0.7, 3.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    for sign in (1, -1):
        x = cp.Variable(4)
        constraints = [*[x[0] <= 1, x[0] >= 1][::sign], cp.norm1(x) <= 2]
        torch.testing.assert_close(FeasibleSet(constraints).project(v), expected, rtol=0, atol=1e-4)


def test_attributed_parameters_in_bounds():
    b, a = cp.Parameter(name="b"), cp.Parameter(nonneg=True, name="a")
    w = cp.Variable(3, bounds=[0, a])
    feasible_set = FeasibleSet([cp.sum(w) == b], w, [b, a]).bind(1.0, 0.4)
    torch.testing.assert_close(feasible_set.project(torch.tensor([9.0, 1.0, 0.0])), torch.tensor([0.4, 0.4, 0.2]))


def test_a_fixed_entry_under_a_general_constraint():
    x, p = cp.Variable(2), cp.Parameter(2)
    layer = ProjectionLayer([x == p, cp.norm1(x) <= 1], on_failure="nan")
    y = layer(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[0.5, 0.1], [2.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(y[0], torch.tensor([0.5, 0.1], dtype=torch.float64), rtol=0, atol=1e-4)
    assert bool(y[1].isnan().all())


def test_one_cone_is_not_two_squares():
    x, a, b = cp.Variable(2), cp.Variable(), cp.Variable()
    constraints = [cp.SOC(a + b + 1, cp.hstack([a + b - 1, 2 * x])), a + b <= 1]
    torch.testing.assert_close(FeasibleSet(constraints, x).project(torch.full((2,), 5.0)).norm(), torch.tensor(1.0))


def test_free_space_gives_a_copy():
    v = torch.ones(3)
    ProjectionLayer([], cp.Variable(3))(v).mul_(5)
    assert torch.equal(v, torch.ones(3))


def test_a_number_in_the_norm_of_one_entry():
    x = cp.Variable(2)
    v = torch.tensor([5.0, 1.0], dtype=torch.float64)
    y = FeasibleSet([cp.norm(cp.hstack([x[0], 1])) <= 2], x).project(v)
    torch.testing.assert_close(y, torch.tensor([3.0**0.5, 1.0], dtype=torch.float64))
    y = FeasibleSet([cp.norm(cp.hstack([x[0], 1])) <= x[1]]).project(torch.tensor([3.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([1.5, 3.25**0.5], dtype=torch.float64))


@pytest.mark.parametrize("s", [1e-3, 1e-5, 1e-7])
def test_ill_conditioned_ellipsoids(s):
    x, matrix, shift = cp.Variable(2), np.array([[1, 1], [1, 1 + s]]), np.array([0.3, 0.5])
    y = FeasibleSet([cp.norm(matrix @ x + shift) <= 1]).project(torch.tensor([3.0, 4.0], dtype=torch.float64)).numpy()
    assert abs(np.linalg.norm(matrix @ y + shift) - 1) <= 1e-8
    np.testing.assert_allclose(y, [-0.35, 0.65], atol=2 * s)


def test_numbers_bound_entries_that_parameters_bound_too():
    x, p = cp.Variable(3), cp.Parameter(3)
    feasible_set = FeasibleSet([x >= 0, x <= 5, x <= p, cp.sum(x) <= 15], x, [p])
    assert labels(feasible_set) == {"box"}
    level = torch.tensor([6.0, 1.0, 2.0], dtype=torch.float64)
    y = feasible_set.bind(level).project(torch.tensor([7.0, -1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([5.0, 0.0, 2.0], dtype=torch.float64))


def test_ties_that_cancel_to_rounding():
    x = cp.Variable(3)
    ties = [x[0] == 0.1 * x[1], x[1] == 0.7 * x[2]]
    v = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = FeasibleSet(ties).project(v)
    torch.testing.assert_close(FeasibleSet([*ties, x[0] - 0.07 * x[2] <= 1]).project(v), expected)
    for impossible in (x[0] - 0.07 * x[2] >= 1, cp.norm(cp.hstack([x[0] - 0.07 * x[2] - 5, x[0] - 0.07 * x[2]])) <= 4):
        with pytest.raises(InfeasibleError) as info:
            FeasibleSet([*ties, impossible])
        assert len(info.value.constraints) == 3


def test_derived_data_have_the_arithmetic_of_affine_data():
    linear = sp.csr_array([[1.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
    one, other = Affine(np.array([1.0, 2.0, 3.0]), linear), Affine.of([0.5, 9.0, -1.0], 2)
    data, matrix, p = largest([one, other]), np.arange(6.0).reshape(2, 3), np.array([-4.0, 3.0])
    vector = one.constant + linear @ p
    larger = np.maximum(vector, other.constant)
    for symbolic, value in (
        (data - one, larger - vector),
        (one + data, larger + vector),
        (-data, -larger),
        (data[::-1], larger[::-1]),
        (data[np.array([2, 0])], larger[[2, 0]]),
        (data.scaled(np.array([1.0, -3.0, 2.0])), larger * [1, -3, 2]),
        (data.mapped(matrix), matrix @ larger),
        (data.mapped(matrix).reshaped(1, 2), (matrix @ larger)[None]),
        (stack([data[:1], data[:1]]).reshaped(2), np.repeat(larger[:1], 2)),
    ):
        got = symbolic.compile([0])(Values((torch.from_numpy(np.stack([p, p])),), torch.float64, torch.device("cpu")))
        np.testing.assert_allclose(got, np.stack([value, value]), atol=1e-12)
        assert symbolic.shape == value.shape
        assert not symbolic.is_zero
    assert data - (one - one) is data


def test_radii_that_depend_on_several_parameters_are_scaled():
    x, t, p, q = cp.Variable(5), cp.Variable(4), cp.Parameter(), cp.Parameter()
    feasible_set = FeasibleSet([3 * cp.abs(cp.diff(x)) <= t, cp.sum(t) <= p, cp.sum(t) <= q], x, [p, q])
    assert feasible_set.method == "closed_form"
    v = torch.randn(3, 5, dtype=torch.float64)
    expected = ProjectionLayer([cp.norm1(cp.diff(x)) <= 0.5], x, method="general")(v)
    torch.testing.assert_close(ProjectionLayer(feasible_set)(v, 1.5, 3.0), expected)
