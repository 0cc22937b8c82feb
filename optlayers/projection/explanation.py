"""In words: what a set was recognised as, and how it is projected onto."""

from collections import Counter
from collections.abc import Sequence

import cvxpy as cp
import numpy as np

from optlayers.declaration.wording import some
from optlayers.kernels.dispatch import missing_packages
from optlayers.projection.compiled_set import CompiledSet
from optlayers.recognition.block import Block
from optlayers.solvers import core

_INLINE = 4  # constraints that are named in the same line
_MOST_LINES = 10  # groups of blocks


def explain(compiled: CompiledSet, variables: Sequence[cp.Variable]) -> str:
    """Describe each group of blocks: its set, its entries, its method and the constraints it comes from."""
    lines = []
    for (name, size), blocks in _groups(compiled).items():
        where = _variables_of(np.concatenate([block.columns for block in blocks]), variables)
        times = f"{len(blocks)} x {name}, {_entries(size)} each" if len(blocks) > 1 else f"{name}, {_entries(size)}"
        lines.append(f"- {times}, of {where}: closed form, exact.{_origin(compiled, blocks)}")
    for piece in compiled.general:
        for k, block in enumerate(piece.blocks):
            where = (
                f"{_entries(block.size)}, of {_variables_of(block.columns, variables)}" if block.size else "no entry"
            )
            lines.append(f"- {where} ({block.summary()}): {piece.method(k)}{_origin(compiled, [block])}")
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"- and {len(lines) - _MOST_LINES} more groups of entries."]
    has_kernels = any(piece.kind.kernels for piece in compiled.pieces)
    if has_kernels:
        lines += [f"- {package} is not installed: {what}." for package, what in missing_packages().items()]
    if (has_kernels or compiled.general) and not core.is_available():
        lines.append("- the compiled core was not built, without a C++ compiler: a slower form serves.")
    return "\n".join(lines)


def summarise(compiled: CompiledSet) -> str:
    """Name the sets in one line."""
    counts: Counter[str] = Counter()
    for (name, _), blocks in _groups(compiled).items():
        counts[name] += len(blocks)
    parts = some([name if count == 1 else f"{count} x {name}" for name, count in counts.items()])
    return ", ".join([*parts, "a set without closed form"] if compiled.general else parts)


def _groups(compiled: CompiledSet) -> dict[tuple[str, int], list[Block]]:
    groups: dict[tuple[str, int], list[Block]] = {}
    for piece in compiled.pieces:
        for label, block in zip(piece.labels, piece.blocks, strict=True):
            groups.setdefault((label, block.size), []).append(block)
    return groups


def _entries(size: int) -> str:
    return "1 entry" if size == 1 else f"{size} entries"


def _variables_of(columns: np.ndarray, variables: Sequence[cp.Variable]) -> str:
    """Name the variables that some entries belong to."""
    names, start = [], 0
    for variable in variables:
        if ((columns >= start) & (columns < start + variable.size)).any():
            names.append(f"{variable.name()} {tuple(variable.shape)}")
        start += variable.size
    return ", ".join(some(names))


def _origin(compiled: CompiledSet, blocks: Sequence[Block]) -> str:
    """Name the constraints of some blocks: a few in the same line, else each in a line of its own."""
    labels = [compiled.form.labels[s] for s in sorted(set().union(*(block.sources for block in blocks)))]
    if len(labels) <= _INLINE:
        return f" From {'; '.join(labels)}." if labels else ""
    return "".join([f" From {len(labels)} constraints:", *(f"\n    {label}" for label in some(labels))])
