"""Real polyhedra with certified projections and derivatives, where the data is at hand."""

import os
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from optlayers import FeasibleSet

DATA = Path(os.environ.get("OPTLAYERS_DATA", Path(__file__).parents[2] / "shared" / "data")) / "polyhedra"
SMALL = (
    *("HS21", "HS35MOD", "HS53", "HS76", "HS118", "S268", "TAME", "ZECEVIC2"),
    *("DC_3_lmbd", "DC_5_pjm", "DC_14_ieee", "NL_kb2", "NL_sc50b", "QPTEST", "QAFIRO", "DUALC1"),
)
OTHERS = sorted({path.stem for path in DATA.glob("*.npz")} - set(SMALL))
ACCURACY, DERIVATIVE_ACCURACY = 1e-7, 1e-5  # relative

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the polyhedra of {DATA}")


def constraints_of(x, d):
    """Yield constraints as a user would write them: equalities apart, and finite sides only."""
    matrix = sp.csr_matrix((d["A_data"], d["A_indices"], d["A_indptr"]), shape=tuple(d["A_shape"]))
    for rows, low, high in ((matrix, d["l"], d["u"]), (None, d["lb"], d["ub"])):
        equal = low == high
        for k, relation in (
            (equal, lambda y, k, low=low: y == low[k]),
            (np.isfinite(low) & ~equal, lambda y, k, low=low: y >= low[k]),
            (np.isfinite(high) & ~equal, lambda y, k, high=high: y <= high[k]),
        ):
            if k.any():
                yield relation(x[np.flatnonzero(k)] if rows is None else rows[k] @ x, k)


def check(name):
    with np.load(DATA / f"{name}.npz") as file:
        d = dict(file)
    x = cp.Variable(d["V"].shape[-1], name="x")
    feasible_set = FeasibleSet(list(constraints_of(x, d)), x)
    v = torch.from_numpy(d["V"]).requires_grad_()
    y = feasible_set.project(v)
    bound = ACCURACY * d["scale"] + d["cert_bound"] * np.abs(d["X"]).max(-1)
    errors = np.abs(y.detach().numpy() - d["X"]).max(-1)
    assert (errors <= bound).all(), f"errors {errors}, allowed {bound}"
    (along,) = torch.autograd.grad((y * torch.from_numpy(d["D"])).sum(), v)  # the Jacobian is symmetric
    size = np.maximum(1.0, np.abs(d["JD"]).max(-1))
    errors = (np.abs(along.numpy() - d["JD"]).max(-1) / size)[d["jvp_ok"]]
    assert (errors <= DERIVATIVE_ACCURACY).all(), f"errors {errors} of the derivative"


@pytest.mark.parametrize("name", SMALL)
def test_small_polyhedron(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_polyhedron(name):
    check(name)
