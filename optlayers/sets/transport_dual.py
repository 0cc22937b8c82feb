"""The dual of the projection onto a transport polytope, and its maximisation by a semismooth Newton method.

With a multiplier for each total, ``Y = clamp(V - a 1' - 1 b', lower, upper)``, and the gradient of the dual function is
by how much the sums of `Y` miss the totals. It is piecewise linear; its generalised Jacobian is that of a bipartite
graph, whose edges are the entries strictly between their bounds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.sets.section_search import search

_MOST_STEPS = 200
_RIDGE = 1e-8  # relative; lets a component of the graph move as a whole until another entry is free
_GOOD = 0.5  # a full step that reduces the residual to this part of the smallest one so far needs no line search
_STAGE = 16.0  # factor between the scales of the points
_MOST_SCALE = 1e12
_ROUGH = 1e-3  # accuracy at scales that only lead to the next one, relative to the totals


@dataclass(frozen=True, eq=False)
class Totals:
    """Bounds on the sums of one side, ``(samples or 1, m)``, and which of them are one number."""

    lower: Tensor
    upper: Tensor

    @property
    def fixed(self) -> Tensor:
        return self.lower == self.upper

    def clamp(self, product: Tensor) -> Tensor:
        return product.maximum(self.lower).minimum(self.upper)

    def excess(self, product: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return by how much sums exceed the bound that the multiplier belongs to, that bound, and where there is one.

        A multiplier of zero belongs to the bound that is violated, and to none where none is.
        """
        above = (multiplier > 0) | ((multiplier == 0) & (product > self.upper)) | self.fixed
        below = ~above & ((multiplier < 0) | (product < self.lower))
        target = torch.where(above, self.upper, torch.where(below, self.lower, product))
        return product - target, target, above | below

    def size(self) -> Tensor:
        """Return the largest finite total of each sample."""
        return torch.stack([torch.where(t.isfinite(), t.abs(), 0.0).amax(-1) for t in (self.lower, self.upper)]).amax(0)


@dataclass(frozen=True, eq=False)
class Dual:
    """Points and polytopes of some samples: ``(samples or 1, m, n)``; bounds are None where there are none."""

    v: Tensor
    lower: Tensor | None
    upper: Tensor | None
    rows: Totals
    columns: Totals

    @property
    def mT(self) -> Dual:  # noqa: N802
        v, lower, upper = (None if t is None else t.mT.contiguous() for t in (self.v, self.lower, self.upper))
        assert v is not None
        return Dual(v, lower, upper, self.columns, self.rows)

    def __getitem__(self, index: Tensor) -> Dual:
        def take(t: Tensor) -> Tensor:
            return t if len(t) == 1 else t[index]

        lower, upper = (None if t is None else take(t) for t in (self.lower, self.upper))
        rows, columns = (Totals(take(t.lower), take(t.upper)) for t in (self.rows, self.columns))
        return Dual(self.v[index], lower, upper, rows, columns)

    def clamp(self, x: Tensor) -> Tensor:
        return x if self.lower is None and self.upper is None else torch.clamp(x, self.lower, self.upper)

    def best_row_multipliers(self, b: Tensor) -> Tensor:
        """Maximise over the multipliers of the rows, those of the columns fixed: one box section for each row."""
        x = self.v - b.unsqueeze(-2)
        inside = self.clamp(x).sum(-1)
        a = search(x, None, self.lower, self.upper, self.rows.clamp(inside))
        return torch.where((inside != self.rows.clamp(inside)) | self.rows.fixed, a, 0.0)


def maximise(dual: Dual) -> tuple[Tensor, Tensor, Tensor]:
    """Return the multipliers ``(samples, m)`` and ``(samples, n)``, and by how much sums miss the totals, ``(samples,)``.

    Points that are far away compared to the totals make the projection all but a linear programme; they are
    approached in stages, from ``V / s`` with a large `s` down to 1.
    """
    a, b = dual.v.new_zeros(dual.v.shape[:-1]), dual.v.new_zeros(dual.v.shape[0], dual.v.shape[-1])
    b = dual.mT.best_row_multipliers(a)
    scale = _scale(dual)
    a, b = a / scale.unsqueeze(-1), b / scale.unsqueeze(-1)
    while True:
        far = (scale > 1).nonzero().squeeze(-1)
        if len(far) == 0:
            return _newton(dual, a, b, rough=False)
        s = scale[far].unsqueeze(-1)
        part = dual[far]
        a[far], b[far], _ = _newton(dataclasses.replace(part, v=part.v / s.unsqueeze(-1)), a[far], b[far], rough=True)
        scale[far] = (scale[far] / _STAGE).clamp_min(1.0)
        ratio = s / scale[far].unsqueeze(-1)
        a[far], b[far] = a[far] * ratio, b[far] * ratio


def _scale(dual: Dual) -> Tensor:
    """Return by how much the points' spread exceeds the totals', at least 1."""
    v = dual.v - dual.v.mean(-1, keepdim=True)
    v = v - v.mean(-2, keepdim=True)
    size = torch.maximum(dual.rows.size(), dual.columns.size())
    return (v.abs().amax((-2, -1)) / (3 * size)).nan_to_num(1.0).clamp(1.0, _MOST_SCALE)


def _newton(dual: Dual, a: Tensor, b: Tensor, *, rough: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Take Newton's steps with an exact line search, and best multipliers of rows and columns in turn.

    Each line search and each turn increases the dual function, and full steps without a line search halve the smallest
    residual, so that the method converges; on the piece of the solution a step is exact (Li, Sun and Toh, "On the
    efficient computation of a projector over the Birkhoff polytope", 2020).
    """
    m, n = dual.v.shape[-2:]
    own_a, own_b = a, b
    a, b = a.clone(), b.clone()
    residual = a.new_full((len(a),), torch.inf)
    open_ = torch.arange(len(a), device=a.device)
    part, smallest = dual, residual.clone()
    flip = dual.mT
    for _ in range(_MOST_STEPS):
        x = part.v - own_a.unsqueeze(-1) - own_b.unsqueeze(-2)
        y = part.clamp(x)
        (fa, ta, ua), (fb, tb, ub) = part.rows.excess(y.sum(-1), own_a), part.columns.excess(y.sum(-2), own_b)
        missed = torch.maximum(fa.abs().amax(-1), fb.abs().amax(-1))
        size = torch.maximum(part.rows.size(), part.columns.size())
        magnitude = size + own_a.abs().amax(-1) + own_b.abs().amax(-1) + part.v.abs().amax((-2, -1))
        tolerance = 2 * torch.finfo(a.dtype).eps * max(m, n) * magnitude
        if rough:
            tolerance = tolerance + _ROUGH * size
        a[open_], b[open_], residual[open_] = own_a, own_b, missed
        smallest = torch.minimum(smallest, missed)
        left = (missed > tolerance).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        if len(left) < len(open_):
            open_ = open_[left]
            part, own_a, own_b, smallest = part[left], own_a[left], own_b[left], smallest[left]
            flip = part.mT
            x, y, fa, ta, ua, fb, tb, ub = (t[left] for t in (x, y, fa, ta, ua, fb, tb, ub))
        da, db = _direction(part, y, fa, ua, fb, ub)
        new_a, new_b = _kept_sign(own_a, own_a + da, part.rows), _kept_sign(own_b, own_b + db, part.columns)
        trial = part.clamp(part.v - new_a.unsqueeze(-1) - new_b.unsqueeze(-2))
        missed = torch.maximum(
            part.rows.excess(trial.sum(-1), new_a)[0].abs().amax(-1),
            part.columns.excess(trial.sum(-2), new_b)[0].abs().amax(-1),
        )
        hard = (~(missed <= _GOOD * smallest)).nonzero().squeeze(-1)
        if len(hard):
            some = part[hard]
            total = (da * ta).sum(-1)[hard] + (db * tb).sum(-1)[hard]
            step = _line_search(some, x[hard], own_a[hard], own_b[hard], da[hard], db[hard], total).unsqueeze(-1)
            move = _kept_sign(own_b[hard], own_b[hard] + step * db[hard], some.columns)
            new_a[hard] = some.best_row_multipliers(move)
            new_b[hard] = (flip if len(hard) == len(own_a) else flip[hard]).best_row_multipliers(new_a[hard])
        own_a, own_b = new_a, new_b
    return a, b, residual


def _kept_sign(before: Tensor, after: Tensor, totals: Totals) -> Tensor:
    """Stop multipliers of inequalities at zero, rather than let them change sign."""
    return torch.where(~totals.fixed & (before * after < 0), 0.0, after)


def _direction(dual: Dual, y: Tensor, fa: Tensor, ua: Tensor, fb: Tensor, ub: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for Newton's step; the rows are eliminated."""
    free = torch.ones_like(y)
    if dual.lower is not None:
        free = free * (y > dual.lower)
    if dual.upper is not None:
        free = free * (y < dual.upper)
    da, db = (torch.where(u, f * (1 + _RIDGE) + _RIDGE, 1.0) for u, f in ((ua, free.sum(-1)), (ub, free.sum(-2))))
    free = free * ua.unsqueeze(-1) * ub.unsqueeze(-2)
    scaled = free / da.unsqueeze(-1)
    schur = torch.diag_embed(db) - free.mT @ scaled
    factor = torch.linalg.cholesky_ex(schur)[0]
    right = fb - (fa.unsqueeze(-2) @ scaled).squeeze(-2)
    step = torch.cholesky_solve(right.unsqueeze(-1), factor)
    return (fa - (free @ step).squeeze(-1)) / da, step.squeeze(-1)


def _line_search(
    dual: Dual, x: Tensor, a: Tensor, b: Tensor, da: Tensor, db: Tensor, total: Tensor
) -> Tensor:
    """Return the best step along a direction, up to where a multiplier of an inequality becomes zero."""
    normal = da.unsqueeze(-1) + db.unsqueeze(-2)
    lower, upper = (None if t is None else t.flatten(1) for t in (dual.lower, dual.upper))
    step = search(x.flatten(1), normal.flatten(1), lower, upper, total)
    for value, change, totals in ((a, da, dual.rows), (b, db, dual.columns)):
        crossing = ~totals.fixed & (value * change < 0)
        step = step.minimum(torch.where(crossing, -value / change, torch.inf).amin(-1))
    return torch.where(step.isfinite() & (step > 0), step, 0.0)
