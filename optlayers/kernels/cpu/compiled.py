"""Compiling row kernels with numba: fast arithmetic that keeps infinities and NaN, cached on disk where that works."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

# Sums may be reordered, which lets them be vectorised; NaN and infinities keep their meaning.
_OPTIONS: dict[str, Any] = {"fastmath": {"nsz", "arcp", "contract", "reassoc"}, "nogil": True}
_EXACT: dict[str, Any] = {"error_model": "numpy", "nogil": True}


def inner(function: _F) -> _F:
    """Compile what kernels call."""
    return numba.njit(**_OPTIONS, forceinline=True)(function)  # pyright: ignore[reportReturnType]


def inner_in_order(function: _F) -> _F:
    """Compile what kernels call, its sums and differences in the order written: for small numbers beside large ones."""
    options = {**_OPTIONS, "fastmath": _OPTIONS["fastmath"] - {"reassoc"}}
    return numba.njit(**options, forceinline=True)(function)  # pyright: ignore[reportReturnType]


def kernel(function: _F) -> _F:
    """Compile a kernel when it is first called, for the types in use; it runs without the interpreter's lock."""
    return cached(function, _OPTIONS)


def exact_kernel(function: _F) -> _F:
    """Compile a kernel whose arithmetic is done in the order written, division by zero included."""
    return cached(function, _EXACT)


def cached(function: _F, options: dict[str, Any] = _OPTIONS) -> _F:
    """Compile a function when it is first called, and keep the result on disk if that is possible."""
    try:
        with _cache_of_these_sources():
            return numba.njit(**options, cache=True)(function)  # pyright: ignore[reportReturnType]
    except RuntimeError:  # no directory for the cache can be written
        return numba.njit(**options)(function)  # pyright: ignore[reportReturnType]


@contextmanager
def _cache_of_these_sources() -> Iterator[None]:
    """Keep compiled kernels apart by their sources: numba looks at the file of a kernel, not at what it calls."""
    config: Any = import_module("numba.core.config")
    before = config.CACHE_DIR
    try:
        root = Path(before) if before else Path.home() / ".cache" / "numba"
    except RuntimeError:  # there is no home
        yield
        return
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    config.CACHE_DIR = str(root / f"optlayers-{digest[:16]}")
    try:
        yield
    finally:
        config.CACHE_DIR = before
