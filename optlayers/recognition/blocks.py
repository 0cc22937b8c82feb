"""From a conic form to blocks: connected components of the bipartite graph of constraints and entries."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.bounds import collect_sides, sort_rows
from optlayers.compiler.conic_form import Cone, ConicForm
from optlayers.parametric.sparse import SparseAffine, ranges
from optlayers.parametric.symbolic import Affine
from optlayers.recognition.block import Block, BlockCone, Row
from optlayers.recognition.fixed_entries import substitute_fixed
from optlayers.recognition.parallel_rows import merge_parallel, without_implied


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the constraints ask of the parameters alone: rows and cones without entries, blocks of auxiliary entries."""

    equalities: AffineRows
    inequalities: AffineRows
    cones: tuple[Cone, ...]
    hidden: tuple[Block, ...]


def decompose(form: ConicForm) -> tuple[list[Block], Conditions]:
    """Split a presolved form into blocks; entries that only have bounds share one block, the first."""
    form = substitute_fixed(form)
    fixed, equal, constant_equalities = sort_rows(form.equalities)
    bounds, other, constant_inequalities = sort_rows(form.inequalities)
    assembly = _Assembly(form, fixed, bounds)
    rows = without_implied(merge_parallel(equal, other), assembly.lower.numbers, assembly.upper.numbers)
    cones = _distinct(form.cones)
    blocks = assembly.blocks(rows, [cone for cone in cones if len(_columns(cone))])
    conditions = Conditions(
        constant_equalities,
        constant_inequalities,
        tuple(cone for cone in cones if len(_columns(cone)) == 0),
        tuple(block for block in blocks if block.size == 0),
    )
    return [block for block in blocks if block.size], conditions


def _distinct(cones: tuple[Cone, ...]) -> list[Cone]:
    """Drop repeated cones."""
    seen: dict[object, Cone] = {}
    for cone in cones:
        data = cone.rows.data
        data.sort_indices()
        key = (cone.kind, cone.alpha, data.indptr.tobytes(), data.indices.tobytes(), data.data.tobytes())
        seen.setdefault(key, cone)
    return list(seen.values())


class _Assembly:
    """Puts bounds, rows and cones together, block by block."""

    def __init__(self, form: ConicForm, fixed: AffineRows, bounds: AffineRows) -> None:
        self.form = form
        self.n = form.equalities.n
        self.lower, self.upper = collect_sides(bounds, fixed)
        both = np.concatenate([self.lower.sources(), self.upper.sources()], axis=1)
        self.bounds = both[:, np.lexsort(both[::-1])]

    def blocks(self, rows: list[tuple[np.ndarray, Row]], cones: list[Cone]) -> list[Block]:
        """Return the connected components."""
        groups = [columns for columns, _ in rows] + [_columns(cone) for cone in cones]
        member = np.concatenate([np.zeros(0, dtype=np.int64), *groups])
        owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        shape = (self.n + len(groups),) * 2
        graph = sp.coo_array((np.ones(len(member)), (owner + self.n, member)), shape=shape)
        label = connected_components(graph, directed=False)[1]
        alone = np.setdiff1d(np.arange(self.form.size), member)
        result = [self._block(alone, [], [])] if len(alone) else []
        constraints: dict[int, tuple[list[tuple[np.ndarray, Row]], list[Cone]]] = defaultdict(lambda: ([], []))
        for k, component in enumerate(label[self.n :].tolist()):
            if k < len(rows):
                constraints[component][0].append(rows[k])
            else:
                constraints[component][1].append(cones[k - len(rows)])
        order = np.argsort(label[: self.n], kind="stable")
        starts = np.unique(label[: self.n][order], return_index=True)[1]
        for columns in sorted(np.split(order, starts[1:]), key=lambda columns: int(columns[0])):
            component = int(label[columns[0]])
            if component in constraints:
                result.append(self._block(columns, *constraints[component]))
        return result

    def _block(self, columns: np.ndarray, rows: list[tuple[np.ndarray, Row]], cones: list[Cone]) -> Block:
        """Collect one block in local coordinates; `columns` are sorted."""
        groups = [entries for entries, _ in rows]
        local = np.searchsorted(columns, np.concatenate([np.zeros(0, dtype=np.int64), *groups]))
        ends = np.cumsum([len(entries) for entries in groups], dtype=np.int64).tolist()
        local_rows = tuple(
            dataclasses.replace(row, normal=_spread(row.normal, local[end - len(entries) : end], len(columns)))
            for (entries, row), end in zip(rows, ends, strict=True)
        )
        bounds = self.bounds[:, ranges(*(np.searchsorted(self.bounds[0], columns, side=s) for s in ("left", "right")))]
        user = int(np.searchsorted(columns, self.form.size))
        return Block(
            columns[:user],
            len(columns) - user,
            self.lower.on(columns),
            self.upper.on(columns),
            local_rows,
            tuple(_local_cone(cone, columns) for cone in cones),
            np.stack([np.searchsorted(columns, bounds[0]), *bounds[1:]]),
            self.form.equalities.parameters,
        )


def _columns(cone: Cone) -> np.ndarray:
    column = cone.rows.triplets()[1]
    return np.unique(column[column < cone.rows.n])


def _spread(normal: Affine, index: np.ndarray, size: int) -> Affine:
    if size == len(index):
        return normal
    entries, parameter, value = index, np.full(len(index), normal.parameters), normal.constant
    if not normal.is_constant:
        linear = normal.linear.tocoo()
        entries, parameter = np.append(entries, index[linear.row]), np.append(parameter, linear.col)
        value = np.append(value, linear.data)
    return SparseAffine((size,), normal.parameters, entries, parameter, value)


def _local_cone(cone: Cone, columns: np.ndarray) -> BlockCone:
    sources = tuple(np.unique(cone.rows.sources.indices).tolist())
    return BlockCone(cone.kind, cone.rows.on(columns), cone.rows.offset, cone.alpha, sources)
