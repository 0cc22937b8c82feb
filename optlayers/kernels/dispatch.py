"""Which kernel serves some tensors, and how these become the rows that it takes."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor, nn

from optlayers.autograd.tracing import has_tangent, is_traced
from optlayers.kernels import cpu, gpu


def find(family: str | None, v: Tensor, *data: Tensor | None) -> ModuleType | None:
    """Return the module of fused kernels for points and a set's data; None where the plain form has to serve.

    Kernels look at values, and know derivatives in the points only, in reverse mode.
    """
    if family is None or is_traced() or type(v) not in (Tensor, nn.Parameter):
        return None
    package = next((package for package in (cpu, gpu) if package.available(v)), None)
    kernels = None if package is None else module_of(package.__name__, family)
    if kernels is None:
        return None
    tensors = [t for t in data if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return None
    return None if has_tangent(v, *tensors) else kernels


@cache
def module_of(package: str, family: str) -> ModuleType | None:
    """Return a family's module; not every package has all. One that cannot be imported is done without."""
    name = f"{package}.{family}"
    if find_spec(name) is None:
        return None
    try:
        return import_module(name)
    except Exception as error:  # the compilers' internals change between their versions
        warnings.warn(f"the plain form is used, for {name} cannot be imported: {error}", RuntimeWarning, 2)
        return None


def missing_packages() -> dict[str, str]:
    """Return which packages kernels would need, and what happens without them."""
    missing: dict[str, str] = {}
    if torch.cuda.is_available() and not gpu.is_installed():
        missing["triton"] = "batches on the GPU take a slower form (CUDA builds of torch bring it)"
    return missing


def as_rows(tensor: Tensor, batch: torch.Size) -> Tensor:
    """Return points ``(*batch, n)`` as ``(rows, n)``."""
    return tensor.expand(*batch, tensor.shape[-1]).reshape(batch.numel(), tensor.shape[-1])


def as_data(tensor: Tensor, batch: torch.Size, event: int = 1) -> Tensor:
    """Return data as ``(rows or a divisor, *event)``: what later batch dimensions repeat is not copied."""
    split = tensor.ndim - event
    sizes, shape = tensor.shape[:split], tensor.shape[split:]
    while sizes and sizes[0] == 1:
        sizes = sizes[1:]
    if sizes != batch[len(batch) - len(sizes) :]:
        tensor = tensor.expand(*batch, *shape)
    return tensor.reshape(-1, *shape)
