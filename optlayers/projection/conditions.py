"""What constraints ask of the parameters alone, and why a set is empty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm
from optlayers.cones import member
from optlayers.parametric.maps import Values
from optlayers.parametric.symbolic import Affine
from optlayers.projection.pieces import ClosedFormPiece
from optlayers.recognition.blocks import Conditions
from optlayers.sets import Check

_MOST_FAILURES = 100  # blocks whose failures are looked into for a message


@dataclass(frozen=True)
class Conflict:
    """Why the set is empty: constraints that cannot hold together, and for which samples (``(*batch,)``)."""

    constraints: tuple[str, ...]
    samples: Tensor


class Condition:
    """Rows of the parameters alone that are zero, nonnegative, or in a cone."""

    def __init__(self, kind: str, rows: AffineRows, starts: Sequence[int], alpha: float = 0.0) -> None:
        offset = rows.offset
        self.kind, self.alpha = kind, alpha
        self.is_parametric = not offset.is_constant
        sources = [set(rows.sources_of(k)) for k in range(len(rows))]
        self._sources = sources if kind in ("zero", "nonneg") else [set().union(*sources)] * len(sources)
        self.slack = offset.compile(starts)
        self.size = Affine(np.abs(offset.constant), abs(offset.linear)).compile(starts)

    def checks(self, values: Values) -> list[Check]:
        """Return one check; its amounts are relative to the terms of each row, ``(*batch, 1, rows)``."""
        slack = self.slack(values)
        size = self.size(Values(tuple(t.abs() for t in values.tensors), values.dtype, values.device))
        if self.kind == "zero":
            amount = slack.abs()
        elif self.kind == "nonneg":
            amount = -slack
        else:
            amount, size = (slack - member(self.kind, self.alpha, slack)).abs(), size.amax(-1, keepdim=True)
        return [Check((amount / (1 + size)).unsqueeze(-2), lambda block: self._sources)]

    def sources_of(self, check: Check, block: int) -> list[set[int]]:
        """Return the user's constraints that each row comes from."""
        return self._sources


def make_conditions(conditions: Conditions, form: ConicForm, starts: Sequence[int]) -> list[Condition]:
    """Return the conditions that rows and cones without entries of ``y`` set."""
    rows = [("zero", conditions.equalities, 0.0), ("nonneg", conditions.inequalities, 0.0)]
    rows += [(cone.kind, cone.rows, cone.alpha) for cone in conditions.cones]
    return [Condition(kind, part, starts, alpha) for kind, part, alpha in rows if len(part)]


def find_conflicts(part: ClosedFormPiece | Condition, values: Values, labels: Sequence[str]) -> list[Conflict]:
    """Return why a part is empty for some samples, one conflict for each group of constraints at fault."""
    with torch.no_grad():
        checks = part.checks(values)
    groups: dict[tuple[int, ...], Tensor] = {}
    for check in checks:
        failed = check.amount > tolerance(values.dtype)
        blocks = failed.reshape(-1, *failed.shape[-2:]).any(-1).any(0).nonzero().flatten()
        for block in blocks[:_MOST_FAILURES].tolist():
            for at_fault, samples in check.conflicts(failed[..., block, :], part.sources_of(check, block)):
                sources = tuple(sorted(at_fault))
                groups[sources] = samples | groups[sources] if sources in groups else samples
    return [Conflict(tuple(labels[source] for source in sources), samples) for sources, samples in groups.items()]


def tolerance(dtype: torch.dtype) -> float:
    """Return the excess, relative to the data, from which a set counts as empty."""
    return 1e-9 if dtype == torch.float64 else 1e-5
