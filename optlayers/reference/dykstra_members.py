"""The simple sets of which a block is the intersection, for Dykstra's algorithm."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optlayers.parametric.symbolic import Affine
from optlayers.projection.pieces import match
from optlayers.recognition.block import Block, BlockCone, Row


class Part(NamedTuple):
    """Some constraints of a block, and the entries that they touch, in the block's coordinates."""

    entries: np.ndarray
    block: Block


def split(block: Block) -> list[Part]:
    """Return all constant equations, the bounds with one of the other rows, each row that is left, and each cone."""
    equations = [row for row in block.rows if row.is_equality and row.normal.is_constant]
    joint = equations if len(equations) > 1 else []
    single = [row for row in block.rows if row not in joint]
    parts = [_part(block, rows=joint)] if joint else []
    if block.has_bounds:
        # The fewer and the larger the members, the faster the convergence.
        best = max(single, key=lambda row: (row.is_equality, len(touched(row))), default=None)
        bounds = None if best is None else _part(block, rows=[best], bounds=True)
        if bounds is None or match(bounds.block) is None:
            bounds = _part(block, bounds=True)
        else:
            single.remove(best)  # pyright: ignore
        parts.append(bounds)
    parts += [_part(block, rows=[row]) for row in single]
    return parts + [_part(block, cones=[cone]) for cone in block.cones]


def touched(constraint: Row | BlockCone) -> np.ndarray:
    """Return the entries that a row or a cone contains."""
    normals = constraint.normal if isinstance(constraint, Row) else constraint.normals
    touched = (normals.constant.ravel() != 0) | normals.is_parametric
    return np.flatnonzero(touched.reshape(-1, normals.shape[-1]).any(0))


def _part(block: Block, rows: Sequence[Row] = (), cones: Sequence[BlockCone] = (), *, bounds: bool = False) -> Part:
    """Return some constraints of a block on the entries that they touch."""
    bounded = block.bounds if bounds else block.bounds[:, :0]
    entries = np.unique(np.concatenate([bounded[0], *(touched(constraint) for constraint in (*rows, *cones))]))
    restricted = dataclasses.replace(
        block,
        columns=block.columns[entries],
        lower=block.lower[entries] if bounds and block.lower is not None else None,
        upper=block.upper[entries] if bounds and block.upper is not None else None,
        rows=tuple(dataclasses.replace(row, normal=row.normal[entries]) for row in rows),
        cones=tuple(dataclasses.replace(cone, normals=_columns(cone.normals, entries)) for cone in cones),
        bounds=np.stack([np.searchsorted(entries, bounded[0]), *bounded[1:]]),
    )
    return Part(entries, restricted)


def _columns(normals: Affine, entries: np.ndarray) -> Affine:
    """Return some columns of a matrix."""
    count, n = normals.shape
    return normals.reshaped(count * n)[(np.arange(count)[:, None] * n + entries).ravel()].reshaped(count, len(entries))


def refusal(sources: set[int], labels: Sequence[str], reason: str) -> ValueError:
    """Return the error that says why Dykstra's algorithm cannot take some constraints."""
    names = ", ".join(labels[source] for source in sorted(sources)) or "a constraint"
    return ValueError(f"method='dykstra' cannot take {names}: it {reason}; use method='general'")
