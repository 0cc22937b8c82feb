"""The methods by name."""

from typing import Literal

from optlayers.autograd.torch_internals import outside_transforms
from optlayers.declaration.snapshot import Snapshot
from optlayers.projection.compiled_set import CompiledSet
from optlayers.projection.iterative_piece import MakePieces
from optlayers.projection.tied_piece import make_general_pieces
from optlayers.reference.cvxpylayers import make_reference_pieces
from optlayers.reference.dykstra_piece import make_dykstra_pieces

Method = Literal["auto", "closed_form", "general", "dykstra", "cvxpylayers"]

# What makes the pieces of blocks without closed form, and whether closed forms are used.
_METHODS: dict[Method, tuple[MakePieces, bool]] = {
    "auto": (make_general_pieces, True),
    "closed_form": (make_general_pieces, True),
    "general": (make_general_pieces, False),
    "dykstra": (make_dykstra_pieces, True),
    "cvxpylayers": (make_reference_pieces, False),
}


def compile_for(method: Method, snapshot: Snapshot) -> CompiledSet:
    """Return the set that a method projects onto; within transforms of `torch.func` too."""
    make_others, closed_forms = _METHODS[method]
    with outside_transforms():
        return CompiledSet(snapshot, make_others, closed_forms=closed_forms)
