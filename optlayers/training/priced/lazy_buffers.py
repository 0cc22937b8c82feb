"""Buffers whose shape is known with the first values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class LazyBuffers(nn.Module):
    """A module whose buffers are zeros of the shape, dtype and device of what arrives first.

    Until then they are empty. Loading a state takes over its shapes, its dtypes where nothing has arrived yet.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            self.register_buffer(name, torch.empty(0))
        self._known: set[str] = set()

    def materialise(self, like: Tensor, **shapes: Sequence[int]) -> None:
        """Make buffers of the dtype and device of a tensor, zero where they are new."""
        for name, shape in shapes.items():
            buffer = self.get_buffer(name)
            if name not in self._known:
                setattr(self, name, like.new_zeros(tuple(shape)))
                self._known.add(name)
            elif buffer.dtype != like.dtype or buffer.device != like.device:
                setattr(self, name, buffer.to(like))

    def is_known(self, name: str) -> bool:
        """Return whether a buffer has its shape."""
        return name in self._known

    def get_extra_state(self) -> list[str]:
        return sorted(self._known)

    def set_extra_state(self, state: list[str]) -> None:
        self._known = set(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, buffer in list(self._buffers.items()):
            stored = state_dict.get(prefix + name)
            if buffer is not None and stored is not None and stored.shape != buffer.shape:
                self._buffers[name] = torch.zeros_like(stored, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
