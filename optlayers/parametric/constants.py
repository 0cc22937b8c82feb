"""Constants of a set: kept in float64 on the CPU, handed out in the caller's dtype on the caller's device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters


def is_traced() -> bool:
    """Whether values cannot be looked at: inside torch.compile, torch.export or a torch.func transform."""
    return torch.compiler.is_compiling() or retrieve_all_functorch_interpreters() != []


class Constant:
    """A float64 (or integer) master copy with one cached copy per dtype and device.

    A set follows its input instead of being moved to it, and ``module.half()`` cannot degrade it.
    """

    def __init__(self, value: np.ndarray) -> None:
        with torch.inference_mode(False):
            self._master = torch.from_numpy(np.array(value))
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """Return the constant on `device`, in `dtype` (integer constants keep theirs)."""
        dtype = dtype if dtype is not None and self._master.is_floating_point() else self._master.dtype
        if dtype == self._master.dtype and device == self._master.device:
            return self._master
        if is_traced():  # a traced or wrapped tensor must never enter the cache
            return self._master.to(device, dtype)
        copy = self._copies.get((dtype, device))
        if copy is None:
            with torch.inference_mode(False):
                copy = self._copies[dtype, device] = self._master.to(device, dtype)
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {"_master": self._master, "_copies": {}}
