"""Constants of a set: kept in float64 on the CPU, handed out in the caller's dtype on the caller's device."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlayers.autograd.tracing import is_traced


class Constant:
    """A float64 (or integer) master copy with one cached copy per dtype and device.

    A set follows its input instead of being moved to it, and ``module.half()`` cannot degrade it.
    """

    def __init__(self, value: np.ndarray) -> None:
        self._value = np.array(value)
        self._fixed_dtype = None if self._value.dtype.kind == "f" else torch.int64
        self._prepare()

    def _prepare(self) -> None:
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        if not is_traced():
            self.on(torch.device("cpu"), torch.float64)

    def on(self, device: torch.device, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the constant on `device`, in `dtype` (integer constants keep theirs)."""
        dtype = self._fixed_dtype or dtype
        copy = self._copies.get((dtype, device))
        if copy is not None:
            return copy
        if is_traced():  # a traced or wrapped tensor must never enter the cache
            master = self._copies.get((self._fixed_dtype or torch.float64, torch.device("cpu")))
            return (torch.from_numpy(self._value) if master is None else master).to(device, dtype)
        with torch.inference_mode(False):
            self._copies[dtype, device] = torch.from_numpy(self._value).to(device, dtype)
        return self._copies[dtype, device]

    def __getstate__(self) -> dict[str, Any]:
        return {"_value": self._value, "_fixed_dtype": self._fixed_dtype}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()
