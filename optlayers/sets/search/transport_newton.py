"""Maximisation of the dual of the projection onto a transport polytope, by a semismooth Newton method."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from optlayers.sets.search.transport_dual import SLOPE, Dual, is_ray, line_search

_MOST_STEPS = 200
_MOST_ROUNDS = 30
_KINK = 1e-15  # of multipliers that are zero, relative to the totals
_RIDGE = 1e-8  # relative; lets a component of the graph move as a whole until another entry is free
_GOOD = 0.5  # a full step that reduces the residual to this part of the smallest one so far needs no line search
_BEYOND = 0.1  # so far beyond the best step it may go, in parts of the slope
_TURN = 3  # after so many line searches the best multipliers of the rows are taken, and of the columns
_NEAR = 16.0  # spread of points that need no stage, relative to the totals
_STAGE = 16.0  # factor between the scales of the points
_MOST_SCALE = 1e12
_ROUGH = 1e-3  # accuracy at scales that only lead to the next one, relative to the totals


def maximise(dual: Dual) -> tuple[Tensor, Tensor]:
    """Return the multipliers ``(samples, m)``, ``(samples, n)``.

    Points that are far away compared to the totals make the projection all but a linear programme; they are
    approached in stages, from ``V / s`` with a large `s` down to 1.
    """
    a = dual.v.new_zeros(dual.v.shape[:-1])
    lost = dual.out_of_reach().expand(len(a)).clone()
    scale = torch.where(lost, 1.0, _scale(dual))
    b = dual.mT.best_row_multipliers(a) / scale.unsqueeze(-1)
    while True:
        far = (scale > 1).nonzero().squeeze(-1)
        if len(far) == 0:
            return _proximal(dual, a, b, lost)
        s, part = scale[far].unsqueeze(-1), dual[far]
        part = dataclasses.replace(part, v=part.v / s.unsqueeze(-1))
        a[far], b[far], lost[far] = _newton(part, a[far], b[far], lost[far], rough=True)
        scale[far] = torch.where(lost[far], 1.0, (scale[far] / _STAGE).clamp_min(1.0))
        ratio = s / scale[far].unsqueeze(-1)
        a[far], b[far] = _followed(part, a[far], b[far], ratio)


def _followed(dual: Dual, a: Tensor, b: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return multipliers for ``ratio * V`` that keep free entries where they are, as well as multipliers can."""
    y = dual.clamp(dual.v - a.unsqueeze(-1) - b.unsqueeze(-2))
    free = dual.free(y)
    kept = free * y
    da, db = _direction(free, kept.sum(-1), kept.sum(-2), dual.rows.at(a)[1], dual.columns.at(b)[1])
    return ratio * a + (ratio - 1) * da, ratio * b + (ratio - 1) * db


def _scale(dual: Dual) -> Tensor:
    """Return by how much the points' spread exceeds the totals', at least 1."""
    v = dual.v - dual.v.mean(-1, keepdim=True)
    v = v - v.mean(-2, keepdim=True)
    return (v.abs().amax((-2, -1)) / (_NEAR * dual.magnitude)).nan_to_num(1.0).clamp(1.0, _MOST_SCALE)


def _proximal(dual: Dual, a: Tensor, b: Tensor, lost: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat Newton's method until no kink is rounded off."""
    todo = torch.arange(len(a), device=a.device)
    for _ in range(_MOST_ROUNDS):
        own_a, own_b, own_lost = _newton(dual, a[todo], b[todo], lost[todo], rough=False)
        rows, columns = dual.rows, dual.columns
        (ta, between_a), (tb, between_b) = rows.at(own_a), columns.at(own_b)
        wrong = torch.maximum((own_a * between_a).abs().amax(-1), (own_b * between_b).abs().amax(-1))
        a[todo], b[todo] = torch.where(between_a, 0.0, own_a), torch.where(between_b, 0.0, own_b)
        left = ((wrong > _KINK * dual.magnitude) & ~own_lost).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        todo = todo[left]
        rows = dataclasses.replace(rows, center=ta.expand_as(own_a))
        columns = dataclasses.replace(columns, center=tb.expand_as(own_b))
        dual = dataclasses.replace(dual, rows=rows, columns=columns)[left]
    return a, b


def _newton(dual: Dual, a: Tensor, b: Tensor, lost: Tensor, *, rough: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Take Newton's steps; where one is not good, search the line, now and then also all rows and all columns.

    Each line search and each best multiplier increases the dual function, and other steps halve the smallest residual
    so far, so that the method converges; on the piece of the solution a step is exact (Li, Sun and Toh, "On the
    efficient computation of a projector over the Birkhoff polytope", 2020). Samples whose dual function increases for
    ever are `lost`: their polytope is empty.
    """
    a, b, lost = a.clone(), b.clone(), lost.clone()
    todo = torch.arange(len(a), device=a.device)
    part, flip, smallest = dual, dual.mT, a.new_full((len(a),), torch.inf)
    for count in range(1, _MOST_STEPS + 1):
        now = part.sums(a[todo], b[todo])
        smallest = torch.minimum(smallest, now.missed)
        left = ((now.missed > _tolerance(part, a[todo], b[todo], rough=rough)) & ~lost[todo]).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        if len(left) < len(todo):
            todo, part, now, smallest = todo[left], part[left], now[left], smallest[left]
            flip = part.mT
        da, db = _direction(part.free(now.y), now.rows, now.columns, now.between_rows, now.between_columns)
        new_a, new_b = a[todo] + da, b[todo] + db
        then = part.sums(new_a, new_b)
        good = (then.missed <= _GOOD * smallest) & (then.along(da, db) >= -_BEYOND * now.along(da, db))
        hard = (~good).nonzero().squeeze(-1)
        if len(hard):
            some, turned = (part, flip) if len(hard) == len(todo) else (part[hard], flip[hard])
            da, db = da[hard], db[hard]
            lost[todo[hard]] = is_ray(some, da, db)
            step = line_search(some, now.x[hard], a[todo[hard]], b[todo[hard]], da, db).unsqueeze(-1)
            new_a[hard], new_b[hard] = a[todo[hard]] + step * da, b[todo[hard]] + step * db
            if count % _TURN == 0:
                new_a[hard] = some.best_row_multipliers(new_b[hard])
                new_b[hard] = turned.best_row_multipliers(new_a[hard])
        a[todo], b[todo] = new_a, new_b
    return a, b, lost


def _tolerance(dual: Dual, a: Tensor, b: Tensor, *, rough: bool) -> Tensor:
    """Return the rounding of sums; for stages that only lead to the next one, a part of the totals."""
    size = dual.magnitude
    terms = size + a.abs().amax(-1) + b.abs().amax(-1) + dual.v.abs().amax((-2, -1))
    rounding = 2 * torch.finfo(a.dtype).eps * max(dual.v.shape[-2:]) * terms
    return rounding + _ROUGH * size if rough else rounding


def _direction(free: Tensor, fa: Tensor, fb: Tensor, between_a: Tensor, between_b: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for Newton's step; the rows are eliminated."""
    da, db = (
        count * (1 + _RIDGE) + _RIDGE + SLOPE * between
        for count, between in ((free.sum(-1), between_a), (free.sum(-2), between_b))
    )
    scaled = free / da.unsqueeze(-1)
    schur = torch.diag_embed(db) - free.mT @ scaled
    factor = torch.linalg.cholesky_ex(schur)[0]
    right = fb - (fa.unsqueeze(-2) @ scaled).squeeze(-2)
    step = torch.cholesky_solve(right.unsqueeze(-1), factor)
    return (fa - (free @ step).squeeze(-1)) / da, step.squeeze(-1)
