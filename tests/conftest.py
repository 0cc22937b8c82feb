"""What every test gets: fixed seeds, one thread a worker, plots without a display."""

import os
from collections.abc import Iterator

os.environ["MPLBACKEND"] = "Agg"  # read when matplotlib is imported, so before any test is

import cvxpy as cp
import hypothesis
import numpy as np
import pytest
import torch

from optlayers import ProjectionLayer

# Locally, hypothesis looks for new examples on every run; in CI, a failure must be the change's own.
hypothesis.settings.register_profile("optlayers", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("optlayers")

# Without a GPU, kernels are interpreted; Triton looks when it is imported, which torch.compile may do first.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """Seed the generators before the test, and undo a default dtype that it set."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (third-party code draws from the global generator)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def w():
    """A variable to write errors about."""
    return cp.Variable(3, name="w")


@pytest.fixture
def capped(w):
    """A capped simplex with both parameters, to be made with the options under test."""
    cap, total = cp.Parameter(3, name="cap"), cp.Parameter(name="total", nonneg=True)
    return lambda **options: ProjectionLayer([w >= 0, w <= cap, cp.sum(w) == total], parameters=[cap, total], **options)
