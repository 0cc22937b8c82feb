"""The data of general blocks: their rows as one matrix, its bounds, and the structure of both."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.conic_form import ConicForm
from optlayers.parametric.symbolic import Affine, Data, concatenate, gather
from optlayers.recognition.block import Block, BlockCone
from optlayers.solvers.structure import Structure


@dataclass(frozen=True, eq=False)
class BlockRows:
    """A block as the general solver takes it, see `Structure`."""

    block: Block
    structure: Structure
    matrix: Affine  # (m, n)
    lower: Data  # (slacks,)
    upper: Data  # (slacks,)

    @staticmethod
    def of(block: Block) -> "BlockRows":
        """Collect the rows of a block."""
        size, parameters = block.size + block.auxiliary, block.parameters
        rows, cones = block.rows, sorted(block.cones, key=_alike)
        bounded = np.unique(block.bounds[0])
        offsets = [cone.offset.scaled(-1.0) for cone in cones]
        lower = gather([row.lower for row in rows], -np.inf, parameters)
        upper = gather([row.upper for row in rows], np.inf, parameters)
        cone_lower = concatenate(Affine.of(np.zeros(0), parameters), *offsets)
        cone_upper = Affine.of(np.full(cone_lower.shape, np.inf), parameters)
        structure = Structure(
            block.size,
            block.auxiliary,
            tuple(bounded.tolist()),
            len(rows),
            tuple(k for k, row in enumerate(rows) if row.is_equality),
            tuple(_group(list(group)) for _, group in groupby(cones, key=_alike)),
        )
        return BlockRows(
            block,
            structure,
            _matrix([*(row.normal for row in rows), *(cone.normals for cone in cones)], size, parameters),
            concatenate(_bounds(block.lower, bounded, -np.inf, block), lower, cone_lower),
            concatenate(_bounds(block.upper, bounded, np.inf, block), upper, cone_upper),
        )

    @property
    def key(self) -> object:
        """Equal for blocks that can be solved as one batch: one structure, and one matrix where that is constant."""
        constant = self.matrix.constant.tobytes() if self.matrix.is_constant else None
        return self.structure, constant, self.lower.signature, self.upper.signature

    def sources(self, slack: int, side: float) -> set[int]:
        """Return the user's constraints that bound a slack, from below where `side` is positive."""
        bounded, linear = len(self.structure.bounded), self.structure.linear
        if slack < bounded:
            return self.block.bound_sources(np.array([self.structure.bounded[slack]]), 1 if side > 0 else -1)
        if slack < bounded + linear:
            return self.block.rows[slack - bounded].sources_at(side)
        start = bounded + linear
        for cone in sorted(self.block.cones, key=_alike):
            start += cone.normals.shape[0]
            if slack < start:
                return set(cone.sources)
        raise IndexError(slack)


def conic_rows(form: ConicForm) -> BlockRows:
    """Return the rows of a whole form as those of one block, in the order of ``form.rows``."""
    size, parameters = form.equalities.n, form.equalities.parameters
    rows, equal, linear = form.rows, len(form.equalities), len(form.equalities) + len(form.inequalities)
    lower = rows.offset.scaled(-1.0)
    infinite = np.arange(len(rows)) >= equal
    upper = Affine(
        np.where(infinite, np.inf, lower.constant), sp.csr_array(sp.diags_array((~infinite) * 1.0) @ lower.linear)
    )
    kinds = [(cone.kind, len(cone.rows), cone.alpha) for cone in form.cones]
    groups = [list(group) for _, group in groupby(kinds, key=lambda kind: kind[:2])]
    cones = tuple((g[0][0], tuple(alpha for _, _, alpha in g), len(g), g[0][1]) for g in groups)
    nothing = np.zeros((3, 0), dtype=np.int64)
    block = Block(np.arange(form.size), form.auxiliary, None, None, (), (), nothing, parameters)
    structure = Structure(form.size, form.auxiliary, (), linear, tuple(range(equal)), cones)
    return BlockRows(block, structure, rows.on(np.arange(size)), lower, upper)


def _alike(cone: BlockCone) -> tuple[str, int]:
    return cone.kind, cone.normals.shape[0]


def _group(cones: list[BlockCone]) -> tuple[str, tuple[float, ...], int, int]:
    return cones[0].kind, tuple(cone.alpha for cone in cones), len(cones), cones[0].normals.shape[0]


def _bounds(data: Data | None, bounded: np.ndarray, absent: float, block: Block) -> Data:
    return Affine.of(np.full(len(bounded), absent), block.parameters) if data is None else data[bounded]


def _matrix(rows: list[Affine], size: int, parameters: int) -> Affine:
    """Return vectors and matrices, of which they are rows, as one matrix."""
    constant = np.concatenate([np.zeros(0), *(part.constant.ravel() for part in rows)]).reshape(-1, size)
    if all(part.is_constant for part in rows):
        return Affine.of(constant, parameters)
    return Affine(constant, sp.csr_array(sp.vstack([part.linear for part in rows])))
