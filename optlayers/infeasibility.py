"""Which of the user's constraints cannot hold together, for samples whose set is empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from optlayers.parametric.maps import Values

if TYPE_CHECKING:
    from optlayers.feasible_set import FeasibleSet


def explain_empty(
    feasible_set: FeasibleSet, values: Values, samples: Tensor
) -> Sequence[tuple[Tensor, tuple[str, ...]]]:
    compiled = feasible_set._compiled
    labels = dict.fromkeys(label for piece in compiled.general for label in compiled.labels(piece))
    return [(samples, tuple(labels))] if bool(samples.any()) else []
