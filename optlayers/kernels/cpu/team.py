"""Row kernels on torch's own threads.

After each operation torch's threads wait for the next one without giving up their cores. Threads of our own would
compete with them, which doubles the time of a kernel; torch's are awake, and start within a microsecond. They are
reached as compiled OpenMP code reaches them, by `GOMP_parallel` (the ABI of GNU's and of LLVM's OpenMP on Linux).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from optlayers.kernels.cpu.compiled import cached

_SYMBOLS = {
    "optlayers_parallel": "GOMP_parallel",
    "optlayers_place": "omp_get_thread_num",
    "optlayers_size": "omp_get_num_threads",
}
_forked = False


def _forget() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def is_available() -> bool:
    """Whether torch's threads can be had: its OpenMP has the ABI, and this process is not a fork, which has none."""
    return not _forked and _bind()


@cache
def _bind() -> bool:
    """Make torch's OpenMP known to compiled code; return whether that was possible."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        library = ctypes.CDLL(str(path))  # looks also into what it was linked with
        found = {own: getattr(library, name) for own, name in _SYMBOLS.items()}
    except (OSError, AttributeError):
        return False
    for own, function in found.items():
        binding.add_symbol(own, ctypes.cast(function, ctypes.c_void_p).value)
    return True


@cache
def in_team(kernel: Any) -> Callable[..., bool]:
    """Return ``run(threads, parts, rows, *arguments)``, which calls a kernel on parts of the rows, and shares them out.

    All of torch's threads are asked to take part, for a smaller team would end the others; if OpenMP grants fewer, they
    take several parts. It returns whether a kernel failed.
    """
    name = f"{kernel.py_func.__qualname__}_in_team"
    function = FunctionType(_run.__code__, {"_share_out": _share_out, "_kernel": kernel}, name)
    function.__module__, function.__qualname__ = kernel.py_func.__module__, name
    return cached(function)


def _outline(context: Any, kernel: Any, threads: Any, parts: Any, rows: Any, arguments: Any) -> Any:
    """Outline ``kernel(rows * k // parts, rows * (k + 1) // parts, *arguments)`` for the parts `k` of a thread."""
    own = kernel.get_call_type(context, (types.int64, types.int64, *arguments.types), {})
    return types.boolean(kernel, types.int64, types.int64, types.int64, arguments), _Outline(kernel, own)


_share_out: Any = intrinsic(_outline)
_kernel: Any = None  # a global of each copy of `_run`: numba's cache knows no kernels in closures


def _run(threads: int, parts: int, rows: int, *arguments: Any) -> bool:
    return _share_out(_kernel, threads, parts, rows, arguments)


class _Outline:
    """Write the code of `_outline`."""

    def __init__(self, kernel: Any, signature: Any):
        self.kernel, self.signature = kernel, signature

    def __call__(self, context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, threads, parts, rows, arguments = values
        place, flags, pointer = ir.IntType(32), ir.IntType(32)(0), ir.IntType(8).as_pointer()
        fields = [parts, rows, arguments, cgutils.false_bit]
        shared = cgutils.alloca_once_value(builder, cgutils.make_anonymous_struct(builder, fields))
        body = ir.FunctionType(ir.VoidType(), [pointer])
        part = ir.Function(builder.module, body, builder.module.get_unique_name("optlayers_part"))
        part.linkage = "internal"
        self._write_part(context, part, shared.type)
        parallel = ir.FunctionType(ir.VoidType(), [body.as_pointer(), pointer, place, place])
        start = cgutils.get_or_insert_function(builder.module, parallel, "optlayers_parallel")
        builder.call(start, [part, builder.bitcast(shared, pointer), builder.trunc(threads, place), flags])
        return builder.load(cgutils.gep_inbounds(builder, shared, 0, 3))

    def _write_part(self, context: Any, part: Any, shared_type: Any) -> None:
        builder = ir.IRBuilder(part.append_basic_block("entry"))
        shared = builder.bitcast(part.args[0], shared_type)
        parts, rows, arguments = (builder.load(cgutils.gep_inbounds(builder, shared, 0, k)) for k in range(3))
        kinds, own = self.signature.args, cgutils.unpack_tuple(builder, arguments)
        own = [_borrowed(context, builder, kind, value) for kind, value in zip(kinds[2:], own, strict=True)]
        compiled = self.kernel.dispatcher.get_compile_result(self.signature)
        context.active_code_library.add_linking_library(compiled.library)
        callee = context.declare_function(part.module, compiled.fndesc)
        place, size = (self._ask(builder, part.module, name, parts.type) for name in ("place", "size"))
        with cgutils.for_range_slice(builder, place, parts, size, parts.type) as (k, _):
            cuts = (builder.mul(rows, cut) for cut in (k, builder.add(k, parts.type(1))))
            values = [*(builder.sdiv(cut, parts) for cut in cuts), *own]
            status, _ = context.call_conv.call_function(builder, callee, types.none, kinds, values)
            with builder.if_then(status.is_error):
                builder.store(cgutils.true_bit, cgutils.gep_inbounds(builder, shared, 0, 3))
        builder.ret_void()

    @staticmethod
    def _ask(builder: Any, module: Any, name: str, kind: Any) -> Any:
        """Return this thread's place in the team, or the team's size."""
        function = ir.FunctionType(ir.IntType(32), [])
        asked = cgutils.get_or_insert_function(module, function, f"optlayers_{name}")
        return builder.sext(builder.call(asked, []), kind)


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return an array without its owner: threads that count references to the same arrays wait for each other."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()  # noqa: SLF001 as numba's own extensions do
