"""Compiling row kernels with numba: fast arithmetic that keeps infinities and NaN, cached on disk where that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

# Sums may be reordered, which lets them be vectorised; NaN and infinities keep their meaning.
_FAST = {"nsz", "arcp", "contract", "reassoc"}


def compiled(function: _F) -> _F:
    """Compile a function when it is first called, for the types in use; it runs without the interpreter's lock."""
    options: dict[str, Any] = {"fastmath": _FAST, "nogil": True}
    try:
        return numba.njit(**options, cache=True)(function)  # pyright: ignore[reportReturnType]
    except RuntimeError:  # no directory for the cache can be written
        return numba.njit(**options)(function)  # pyright: ignore[reportReturnType]
