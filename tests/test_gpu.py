"""On a GPU every set gives what it gives on the CPU; skipped where there is none."""

import pytest
import torch

from optlayers.sets import REGISTRY
from optlayers.testing import cases

CASES = [case for kind in REGISTRY for case in cases(kind)]


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_the_cpu(case, dtype):
    v = case.random_points().to(dtype)
    values = case.values(dtype)
    results = []
    for device in ("cpu", "cuda"):
        leaves = [tensor.to(device, copy=True).requires_grad_() for tensor in (v, *values)]
        y = case.project(*leaves)
        assert y.device.type == device
        gradients = torch.autograd.grad(y.square().sum(), leaves)
        results.append([tensor.cpu() for tensor in (y, *gradients)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
