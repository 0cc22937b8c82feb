"""Triton's compiler takes every kernel, for an H100, on machines without a GPU; the interpreter takes more than it."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

SCRIPT = """
import importlib, pkgutil
import torch, triton
from triton.backends.compiler import GPUTarget
from optlayers.kernels import gpu
from optlayers.parametric.range import Range


class Driver:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)


def compile_only(kernel, programs, warps, **arguments):
    kernel.warmup(**arguments, grid=(programs,), num_warps=warps, enable_fp_fusion=False)
    for name, value in arguments.items():
        if name == "state":  # nothing was computed, so nothing would ever be done
            value.zero_()
    compiled.add(f"{kernel.fn.__module__}.{kernel.fn.__name__}")


triton.runtime.driver.set_active(Driver())
compiled = set()
modules = {m.name: importlib.import_module(f"{gpu.__name__}.{m.name}") for m in pkgutil.iter_modules(gpu.__path__)}
for module in modules.values():
    if "launch" in vars(module):
        module.launch = compile_only

for dtype in (torch.DTYPES):
    for n in (1000, 100_003):
        v, row, one = torch.zeros(2, n, dtype=dtype), torch.zeros(1, n, dtype=dtype), torch.ones(1, dtype=dtype)
        number, active, starts = one.reshape(1, 1).expand(1, n), torch.ones(2, dtype=torch.bool), v.long()
        norm = torch.ones(2, dtype=torch.promote_types(dtype, torch.float32))
        m = modules
        m["box"].project(v, row, None), m["box"].pull(v, v, number, row)
        for data in ((None, number, None), (row, row, row)):
            m["box_section"].project(v, *data, Range.fixed(one)), m["box_section"].project(v, *data, Range(one, None))
            m["box_section"].pull(v, v, active, *data)
        for weights in (None, row):
            m["l1_ball"].project(v, weights, one), m["l1_ball"].pull(v, v, active, weights)
            m["isotonic"].project(v, weights), m["isotonic"].pull(v, starts, weights)
        m["l2_ball"].project(v, one), m["l2_ball"].pull(v, v, norm, one)
        m["second_order_cone"].project(v), m["second_order_cone"].pull(v, v)
print(*sorted(compiled))
"""
KERNELS = {
    "box": ["_project", "_pull"],
    "box_section": ["_project", "_pull"],
    "section_passes": ["_guess", "_settle", "_update"],
    "section_parts": ["evaluate", "sift", "write"],
    "norms": ["_norms", "_products"],
    "l2_ball": ["_project", "_pull"],
    "second_order_cone": ["_project", "_pull"],
    "isotonic": ["_project", "_pull"],
    "isotonic_merges": ["average_pair", "merge_pair"],
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_every_kernel_compiles(dtype, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT.replace("torch.DTYPES", f"torch.{dtype},")]
    result = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    package = "optlayers.kernels.gpu"
    expected = {f"{package}.{module}.{name}" for module, names in KERNELS.items() for name in names}
    assert set(result.stdout.split()) == expected
