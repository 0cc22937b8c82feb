"""Maximisation of the dual of the projection onto a transport polytope, by a semismooth Newton method."""

import torch
from torch import Tensor

from optlayers.sets.search.transport_dual import Dual
from optlayers.sets.search.transport_graph import solve_bipartite

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
    a = torch.zeros_like(dual.v[:, :-1, 0])
    lost = dual.out_of_reach()
    scale = torch.where(lost, 1.0, _scale(dual))
    b = dual.mT.best_row_multipliers(a) / scale.unsqueeze(-1)
    while len(far := (scale > 1).nonzero().squeeze(-1)):
        s = scale[far]
        part = dual[far].divided(s)
        a[far], b[far], lost[far] = _newton(part, a[far], b[far], lost[far], rough=True)
        scale[far] = torch.where(lost[far], 1.0, (s / _STAGE).clamp_min(1.0))
        a[far], b[far] = _followed(part, a[far], b[far], (s / scale[far]).unsqueeze(-1))
    return _proximal(dual, a, b, lost)


def _followed(dual: Dual, a: Tensor, b: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return multipliers for ``ratio * V`` that keep free entries where they are, as well as multipliers can."""
    y = dual.sums(a, b).y
    free = dual.free(y)
    kept = (free * y)[:, :-1, :-1]
    da, db = _direction(free, kept.sum(-1), kept.sum(-2))
    return ratio * a + (ratio - 1) * da, ratio * b + (ratio - 1) * db


def _scale(dual: Dual) -> Tensor:
    """Return by how much the points' spread exceeds the totals', at least 1."""
    v = dual.v[:, :-1, :-1]
    v = v - v.mean(-1, keepdim=True)
    v = v - v.mean(-2, keepdim=True)
    return (v.abs().amax((-2, -1)) / (_NEAR * dual.size)).nan_to_num(1.0).clamp(1.0, _MOST_SCALE)


def _proximal(dual: Dual, a: Tensor, b: Tensor, lost: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat Newton's method until multipliers of totals between their bounds are zero."""
    todo = torch.arange(len(a), device=a.device)
    for _ in range(_MOST_ROUNDS):
        new_a, new_b, lost = _newton(dual, a[todo], b[todo], lost, rough=False)
        y = dual.sums(new_a, new_b).y
        between = dual.free(y) > 0
        between_a, between_b = between[:, :-1, -1], between[:, -1, :-1]
        wrong = torch.maximum((new_a * between_a).abs().amax(-1), (new_b * between_b).abs().amax(-1))
        a[todo], b[todo] = torch.where(between_a, 0.0, new_a), torch.where(between_b, 0.0, new_b)
        left = ((wrong > _KINK * dual.size) & ~lost).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        todo, lost, dual = todo[left], lost[left], dual.at_center(dual.v, y)[left]
    return a, b


def _newton(dual: Dual, a: Tensor, b: Tensor, lost: Tensor, *, rough: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Take Newton's steps; where one is not good, search the line, now and then also all rows and all columns.

    Each line search and each best multiplier increases the dual function, and other steps halve the smallest residual
    so far, so that the method converges; on the piece of the solution a step is exact (Li, Sun and Toh, "On the
    efficient computation of a projector over the Birkhoff polytope", 2020). Samples whose dual function increases for
    ever are `lost`: their polytope is empty.
    """
    a, b, lost = a.clone(), b.clone(), lost.clone()
    todo, smallest = torch.arange(len(a), device=a.device), a.new_full((len(a),), torch.inf)
    for count in range(1, _MOST_STEPS + 1):
        old_a, old_b = a[todo], b[todo]
        now = dual.sums(old_a, old_b)
        smallest = torch.minimum(smallest, now.missed)
        left = ((now.missed > _tolerance(dual, old_a, old_b, rough=rough)) & ~lost[todo]).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        if len(left) < len(todo):
            todo, dual, smallest = todo[left], dual[left], smallest[left]
            now, old_a, old_b = type(now)(*(t[left] for t in now)), old_a[left], old_b[left]
        da, db = _direction(dual.free(now.y), now.rows, now.columns)
        new_a, new_b = old_a + da, old_b + db
        then = dual.sums(new_a, new_b)
        good = (then.missed <= _GOOD * smallest) & (then.along(da, db) >= -_BEYOND * now.along(da, db))
        hard = (~good).nonzero().squeeze(-1)
        if len(hard):
            some, da, db = dual if len(hard) == len(todo) else dual[hard], da[hard], db[hard]
            lost[todo[hard]] = some.is_ray(da, db)
            step = some.line_search(now.x[hard], da, db)
            new_a[hard], new_b[hard] = old_a[hard] + step * da, old_b[hard] + step * db
            if count % _TURN == 0:
                new_a[hard] = some.best_row_multipliers(new_b[hard])
                new_b[hard] = some.mT.best_row_multipliers(new_a[hard])
        a[todo], b[todo] = new_a, new_b
    return a, b, lost


def _tolerance(dual: Dual, a: Tensor, b: Tensor, *, rough: bool) -> Tensor:
    """Return the rounding of sums; for stages that only lead to the next one, a part of the totals."""
    v = dual.v[:, :-1, :-1]
    terms = dual.size + a.abs().amax(-1) + b.abs().amax(-1) + v.abs().amax((-2, -1))
    rounding = 2 * torch.finfo(a.dtype).eps * max(v.shape[-2:]) * terms
    return rounding + _ROUGH * dual.size if rough else rounding


def _direction(free: Tensor, fa: Tensor, fb: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for Newton's step, given the weights of the free entries and the gradient."""
    inner = free[:, :-1, :-1]
    da, db = (free.sum(d)[:, :-1] + _RIDGE * (1 + inner.sum(d)) for d in (-1, -2))
    return solve_bipartite(inner, da, db, fa, fb)
