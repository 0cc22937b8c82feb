"""Large sets are recognised in memory that grows with their constraints' coefficients, zeros excepted."""

import tracemalloc

import cvxpy as cp
import numpy as np
import pytest

from optlayers import FeasibleSet
from optlayers.parametric.sparse import SparseAffine, entries_of, stack_rows
from optlayers.parametric.symbolic import Affine

N = 3_000
MOST_BYTES = 40 * 2**20  # a matrix with a row for each entry has 69 MiB
center, weights = np.random.default_rng(0).normal(size=N), np.random.default_rng(1).uniform(0.5, 1.5, N)

LARGE = {
    "L1 ball": lambda x: [cp.norm1(x - center) <= 1],
    "weighted L1 ball": lambda x: [weights @ cp.abs(x) <= 1],
    "asymmetric L1 ball": lambda x: [cp.sum(cp.pos(x)) + 2 * cp.sum(cp.neg(x)) <= 1],
    "monotone sequence": lambda x: [cp.diff(x) >= 0, x >= 0, x <= 1],
    "order simplex": lambda x: [cp.diff(x) <= 0, x >= 0, cp.sum(x) == 1],
    "Lipschitz chain": lambda x: [cp.abs(cp.diff(x)) <= 1],
    "total variation ball": lambda x: [cp.norm1(cp.diff(x)) <= 1],
    "L2 ball": lambda x: [cp.norm(x, 2) <= 1],
    "L2 ball, squared": lambda x: [cp.sum_squares(x - center) <= 2],
    "ellipsoid": lambda x: [cp.norm(cp.multiply(weights, x)) <= 2],
    "second-order cone": lambda x: [cp.norm(x[1:] - center[1:]) <= x[0]],
    "paraboloid": lambda x: [cp.sum_squares(x[1:]) <= x[0]],
    "group ball": lambda x: [cp.sum(cp.norm(cp.reshape(x, (N // 100, 100), order="C"), 2, axis=1)) <= 1],
    "sum of largest entries": lambda x: [cp.sum_largest(x, 5) <= 1],
    "sum of smallest entries": lambda x: [cp.sum_smallest(x - center, N // 2) >= -1],
    "nonnegative L2 ball": lambda x: [cp.norm(x, 2) <= 1, x >= 0],
    "half-space meets L2 ball": lambda x: [cp.norm(x, 2) <= 1, weights @ x <= 0.1],
}


@pytest.fixture(scope="module", autouse=True)
def warmed_up():
    """Import what is imported late."""
    x = cp.Variable(4)
    FeasibleSet([cp.norm1(x) <= 1], x)
    FeasibleSet([cp.norm(x) <= 1, x >= 0], x).explain()


@pytest.mark.parametrize("name", LARGE)
def test_no_matrix_is_dense(name):
    x = cp.Variable(N)
    constraints = LARGE[name](x)
    tracemalloc.start()
    try:
        compiled = FeasibleSet(constraints, x, method="closed_form")
        text = compiled.explain()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"{N} entries" in text
    assert peak < MOST_BYTES


def test_parameters_stay_sparse():
    x, radius, offset = cp.Variable(N), cp.Parameter(), cp.Parameter(N)
    tracemalloc.start()
    try:
        for constraints in ([cp.norm(x - offset, 2) <= radius], [cp.norm1(x - offset) <= radius]):
            compiled = FeasibleSet(constraints, x, [radius, offset])
            assert compiled.method == "closed_form"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES


def _random_sparse(rng, shape, parameters):
    """Return a sparse map, and what it is, with and without a place that cancels."""
    size = int(np.prod(shape))
    keys = rng.choice(size * (parameters + 1), 2 * size, replace=False)
    index, parameter = np.divmod(keys, parameters + 1)
    return SparseAffine(shape, parameters, index, parameter, rng.integers(-2, 3, len(keys)).astype(float))


def _same(one, other):
    return np.array_equal(one.constant, other.constant) and (one.linear != other.linear).nnz == 0


@pytest.mark.parametrize("seed", range(10))
def test_sparse_maps_are_the_dense_ones(seed):
    rng = np.random.default_rng(seed)
    vector = _random_sparse(rng, (7,), 3)
    dense = Affine(vector.constant, vector.linear)
    index = rng.integers(0, 7, 5)
    for chosen in (index, slice(2, 6), slice(None, None, -1)):
        assert _same(vector[chosen], dense[chosen])
    assert _same(vector.scaled(index[0] - 0.5), dense.scaled(index[0] - 0.5))
    assert _same(vector.scaled(np.arange(7.0)), dense.scaled(np.arange(7.0)))
    assert _same(vector.reshaped(1, -1), dense.reshaped(1, -1))
    assert vector.is_zero == dense.is_zero
    rows = stack_rows([vector, dense.scaled(2.0), dense], 7, 3)
    assert _same(rows, Affine.stack([dense, dense.scaled(2.0), dense]))
    assert _same(rows[np.array([2, 1])], Affine.stack([dense, dense.scaled(2.0)]))


@pytest.mark.parametrize("seed", range(10))
def test_entries_are_the_places_that_are_not_zero(seed):
    matrix = _random_sparse(np.random.default_rng(seed), (4, 5), 2)
    used = entries_of(matrix)
    occupied = (matrix.constant.ravel() != 0) | matrix.is_parametric
    assert np.array_equal(used.row * 5 + used.column, np.flatnonzero(occupied))
    assert np.array_equal(used.constant, matrix.constant[used.row, used.column])
    assert np.array_equal(used.is_parametric, matrix.is_parametric[occupied])
