"""One projection of a batch: what is sound is projected, and each sample gets a status."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.declaration.inputs import Problem
from optlayers.parametric.maps import Values
from optlayers.projection.compiled_set import CompiledSet, Outcome
from optlayers.solvers.status import Status

_SOLVED, _INFEASIBLE, _INVALID, _ = map(int, Status)


@dataclass(frozen=True)
class Options:
    """What to do with samples that have no projection.

    Attributes
    ----------
    relax : bool
        Whether those whose set is empty get their least-infeasible point; else they are NaN.
    look : bool
        Whether values may be looked at, to leave invalid samples out.
    """

    relax: bool
    look: bool


def attempt(
    compiled: CompiledSet,
    v: Tensor,
    values: Values,
    problems: Sequence[Problem],
    start: Sequence[Tensor] | None,
    options: Options,
) -> Outcome:
    """Return the projection of points ``(*batch, n)``, and statuses unless all are solved; no answer is NaN."""
    if options.look:
        tensors = (v, *values.tensors)
        if problems or not all(surely_finite(tensor) for tensor in tensors):
            valid = _valid(tensors)
            for _, bad in problems:
                valid = valid & ~bad
            if not bool(valid.all()):
                return _attempt_valid(compiled, v, values, valid, start, options)
    sets = compiled.bind(values)
    feasible = compiled.feasible(values, sets)
    if options.relax and feasible is not None:
        sets = [bound.relaxed() for bound in sets]
    found = compiled.project(v, values, sets, relax=options.relax, start=start)
    if options.look and feasible is None and (found.status is None or not bool(found.status.any())):
        return found
    valid = torch.ones_like(found.value[..., 0], dtype=torch.bool) if options.look else _valid((v, *values.tensors))
    solved = valid if feasible is None else valid & feasible
    status = torch.where(solved, _SOLVED, torch.where(valid, _INFEASIBLE, _INVALID))
    answered = valid if options.relax else solved
    if found.status is not None:
        status = torch.where(status == _SOLVED, found.status, status)
        answered = answered & ((found.status == _SOLVED) | ((found.status == _INFEASIBLE) & options.relax))
    y = torch.where(answered.unsqueeze(-1), found.value, torch.nan)
    return dataclasses.replace(found, value=y, status=status)


def surely_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite, in one pass over memory; False may also mean that their sum overflows."""
    return math.isfinite(float(tensor.detach().sum()))


def _valid(tensors: Sequence[Tensor]) -> Tensor:
    """Return which samples are finite."""
    valid = tensors[0].isfinite().all(-1)
    for tensor in tensors[1:]:
        valid = valid & tensor.isfinite().all(-1)
    return valid


def _attempt_valid(
    compiled: CompiledSet,
    v: Tensor,
    values: Values,
    valid: Tensor,
    start: Sequence[Tensor] | None,
    options: Options,
) -> Outcome:
    """Project the valid samples alone, so that the others spoil neither them nor their gradients."""
    batch = valid.shape
    y = torch.full((*batch, v.shape[-1]), torch.nan, dtype=v.dtype, device=v.device)
    status = torch.full_like(valid, _INVALID, dtype=torch.int64)
    if not bool(valid.any()):
        return Outcome(y, status)
    tensors = tuple(t.expand(*batch, t.shape[-1])[valid] for t in values.tensors)
    own = v.expand(*batch, v.shape[-1])[valid]
    where = valid.nonzero(as_tuple=True)
    began = None if start is None else [t.expand(*batch, *t.shape[-2:])[valid] for t in start]
    found = attempt(compiled, own, Values(tensors, values.dtype, values.device), (), began, options)
    solved = torch.full_like(where[0], _SOLVED) if found.status is None else found.status

    def spread(own: Tensor, fill: float) -> Tensor:
        return own.new_full((*batch, *own.shape[1:]), fill).index_put(where, own)

    return Outcome(
        y.index_put(where, found.value),
        status.index_put(where, solved),
        None if found.steps is None else spread(found.steps, 0),
        None if found.violation is None else spread(found.violation, torch.nan),
        tuple(spread(part, torch.nan) for part in found.state),
    )
