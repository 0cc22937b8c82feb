"""What is known of a constant matrix as a list of tensors, which an operator of torch can take."""

from collections.abc import Sequence
from dataclasses import fields

from torch import Tensor

from optlayers.solvers.geometry import Geometry, Reduction
from optlayers.solvers.splitting import SplittingMap

_SPLITTING, _REDUCTION = len(fields(SplittingMap)), len(fields(Reduction))


def pack_constants(geometry: Geometry, splitting: SplittingMap | None) -> list[Tensor]:
    """Return a geometry and a splitting map as a list of tensors."""
    return [geometry.norms, geometry.rows, *_tensors(splitting), *_tensors(geometry.reduction)]


def _tensors(part: SplittingMap | Reduction | None) -> list[Tensor]:
    return [] if part is None else [getattr(part, field.name) for field in fields(part)]


def unpack_constants(constants: Sequence[Tensor]) -> tuple[Geometry | None, SplittingMap | None]:
    """Undo `pack_constants`; which parts there are shows in their number."""
    if not constants:
        return None, None
    norms, rows, *others = constants
    first, last = _SPLITTING, _REDUCTION
    splitting = SplittingMap(*others[:first]) if len(others) in (first, first + last) else None
    reduction = Reduction(*others[-last:]) if len(others) in (last, first + last) else None
    return Geometry(norms, rows, reduction), splitting
