"""The dual of the projection onto a transport polytope, and its maximisation by a semismooth Newton method.

With a multiplier for each total, ``Y = clamp(V - a 1' - 1 b', lower, upper)``, and the gradient of the dual function is
by how much the sums of `Y` exceed the totals. It is piecewise linear; its generalised Jacobian is that of a bipartite
graph, whose edges are the entries strictly between their bounds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.sets.section_search import free_mask, search

_MOST_STEPS = 200
_MOST_ROUNDS = 30
_KINK = 1e-15  # of multipliers that are zero, relative to the totals
_EMPTY = 1e-9  # relative excess of a total over its reach
_RIDGE = 1e-8  # relative; lets a component of the graph move as a whole until another entry is free
_GOOD = 0.5  # a full step that reduces the residual to this part of the smallest one so far needs no line search
_BEYOND = 0.1  # so far beyond the best step it may go, in parts of the slope
_STAGE = 16.0  # factor between the scales of the points
_MOST_SCALE = 1e12
_ROUGH = 1e-3  # accuracy at scales that only lead to the next one, relative to the totals
_SLOPE = 1e6  # of the total in its multiplier, where it is between its bounds
_ROOT = _SLOPE**0.5
_ROUNDING, _RAY = 1e-10, 1e-7  # of directions; and the slope, relative to the totals, that proves a polytope empty


@dataclass(frozen=True, eq=False)
class Totals:
    """Bounds on the sums of one side, ``(samples or 1, m)``.

    The dual function has a kink where the multiplier of an inequality is zero. The proximal point method rounds it off:
    the sum that belongs to a multiplier `a` is ``clamp(center + slope * a, lower, upper)``. Where the center is that
    sum itself, the multiplier is zero, and nothing has been rounded off.
    """

    lower: Tensor
    upper: Tensor
    center: Tensor
    is_fixed: bool

    @staticmethod
    def balanced(rows: Totals, columns: Totals) -> tuple[Totals, Totals]:
        """Return totals whose sums agree to rounding, or where no side is fixed, what was given."""
        if not (rows.is_fixed and columns.is_fixed):
            return rows, columns
        gap = (rows.upper.sum(-1, keepdim=True) - columns.upper.sum(-1, keepdim=True)) / 2
        levels = rows.upper - gap / rows.upper.shape[-1], columns.upper + gap / columns.upper.shape[-1]
        return tuple(Totals(level, level, level, True) for level in levels)  # pyright: ignore

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor) -> Totals:
        zero = torch.zeros_like(lower)
        return cls(lower, upper, zero.maximum(lower).minimum(upper), bool((lower == upper).all()))

    def at(self, multiplier: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums that belong to multipliers, and where they are between their bounds."""
        if self.is_fixed:
            return self.upper, torch.zeros_like(multiplier, dtype=torch.bool)
        total = (self.center + _SLOPE * multiplier).maximum(self.lower).minimum(self.upper)
        return total, (total > self.lower) & (total < self.upper)

    def entries(self, multiplier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points and bounds of entries whose sections with the normal ``_ROOT`` stand for minus the totals."""
        return tuple(-t / _ROOT for t in (self.center + _SLOPE * multiplier, self.upper, self.lower))  # pyright: ignore

    def hold(self, total: Tensor, multiplier: Tensor) -> Tensor:
        """Return which sums are held by a bound."""
        return (self.lower == self.upper) | (multiplier != 0) | (total <= self.lower) | (total >= self.upper)

    def missed(self, total: Tensor) -> Tensor:
        """Return by how much the sums of each sample are outside their bounds."""
        return (total - total.maximum(self.lower).minimum(self.upper)).abs().amax(-1)

    def size(self) -> Tensor:
        """Return the largest finite total of each sample."""
        low, high = (torch.where(t.isfinite(), t.abs(), 0.0).amax(-1) for t in (self.lower, self.upper))
        return torch.maximum(low, high)

    def __getitem__(self, index: Tensor) -> Totals:
        lower, upper, center = (t if len(t) == 1 else t[index] for t in (self.lower, self.upper, self.center))
        return Totals(lower, upper, center, self.is_fixed)


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
        lower, upper = (t if t is None or len(t) == 1 else t[index] for t in (self.lower, self.upper))
        return Dual(self.v[index], lower, upper, self.rows[index], self.columns[index])

    def clamp(self, x: Tensor) -> Tensor:
        return x if self.lower is None and self.upper is None else torch.clamp(x, self.lower, self.upper)

    def free(self, y: Tensor) -> Tensor:
        """Return 1 for entries strictly between their bounds, else 0."""
        return torch.ones_like(y) if self.lower is self.upper is None else free_mask(y, self.lower, self.upper)

    def magnitude(self) -> Tensor:
        """Return the size of the totals."""
        return torch.maximum(self.rows.size(), self.columns.size())

    def out_of_reach(self) -> Tensor:
        """Whether some row's or column's total cannot be had from its own entries: the set of the sample is empty."""
        result = torch.zeros((), dtype=torch.bool, device=self.v.device)
        for dim, totals in ((-1, self.rows), (-2, self.columns)):
            for bound, total, sign in ((self.lower, totals.upper, 1.0), (self.upper, totals.lower, -1.0)):
                if bound is not None:
                    reach, size = bound.sum(dim), bound.abs().sum(dim) + total.abs()
                    result = result | (sign * (reach - total) > _EMPTY * size).any(-1)
        return result

    def best_row_multipliers(self, b: Tensor) -> Tensor:
        """Maximise over the multipliers of the rows, those of the columns fixed: one box section for each row."""
        x = self.v - b.unsqueeze(-2)
        if self.rows.is_fixed:
            return search(x, None, self.lower, self.upper, self.rows.upper.expand(x.shape[:-1]))
        own, low, high = self.rows.entries(torch.zeros_like(x[..., 0]))
        bounds = [
            _joined(torch.full_like(x[:1], absent) if t is None else t, extra)
            for t, extra, absent in ((self.lower, low, -torch.inf), (self.upper, high, torch.inf))
        ]
        normal = x.new_ones(x.shape[-1] + 1)
        normal[-1] = _ROOT
        return search(_joined(x, own), normal, *bounds, x.new_zeros(x.shape[:-1]))


def _joined(grid: Tensor, extra: Tensor) -> Tensor:
    samples = max(len(grid), len(extra))
    return torch.cat([grid.expand(samples, -1, -1), extra.expand(samples, -1).unsqueeze(-1)], -1)


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
    return (v.abs().amax((-2, -1)) / (3 * dual.magnitude())).nan_to_num(1.0).clamp(1.0, _MOST_SCALE)


def _proximal(dual: Dual, a: Tensor, b: Tensor, lost: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat Newton's method until no kink is rounded off."""
    todo = torch.arange(len(a), device=a.device)
    for _ in range(_MOST_ROUNDS):
        own_a, own_b, own_lost = _newton(dual, a[todo], b[todo], lost[todo], rough=False)
        rows, columns = dual.rows, dual.columns
        (ta, between_a), (tb, between_b) = rows.at(own_a), columns.at(own_b)
        wrong = torch.maximum((own_a * between_a).abs().amax(-1), (own_b * between_b).abs().amax(-1))
        a[todo], b[todo] = torch.where(between_a, 0.0, own_a), torch.where(between_b, 0.0, own_b)
        left = ((wrong > _KINK * dual.magnitude()) & ~own_lost).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        todo = todo[left]
        rows = dataclasses.replace(rows, center=ta.expand_as(own_a))
        columns = dataclasses.replace(columns, center=tb.expand_as(own_b))
        dual = dataclasses.replace(dual, rows=rows, columns=columns)[left]
    return a, b


def _newton(dual: Dual, a: Tensor, b: Tensor, lost: Tensor, *, rough: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Take Newton's steps with an exact line search, and best multipliers of rows and columns in turn.

    Each line search and each turn increases the dual function, and full steps without a line search halve the smallest
    residual, so that the method converges; on the piece of the solution a step is exact (Li, Sun and Toh, "On the
    efficient computation of a projector over the Birkhoff polytope", 2020).
    """
    m, n = dual.v.shape[-2:]
    own_a, own_b = a, b
    a, b = a.clone(), b.clone()
    open_ = torch.arange(len(a), device=a.device)
    part, smallest, own_lost = dual, a.new_full((len(a),), torch.inf), lost
    lost = lost.clone()
    flip = dual.mT
    for _ in range(_MOST_STEPS):
        x = part.v - own_a.unsqueeze(-1) - own_b.unsqueeze(-2)
        y = part.clamp(x)
        (ta, between_a), (tb, between_b) = part.rows.at(own_a), part.columns.at(own_b)
        fa, fb = y.sum(-1) - ta, y.sum(-2) - tb
        missed = torch.maximum(fa.abs().amax(-1), fb.abs().amax(-1))
        size = part.magnitude()
        magnitude = size + own_a.abs().amax(-1) + own_b.abs().amax(-1) + part.v.abs().amax((-2, -1))
        tolerance = 2 * torch.finfo(a.dtype).eps * max(m, n) * magnitude
        if rough:
            tolerance = tolerance + _ROUGH * size
        a[open_], b[open_], lost[open_] = own_a, own_b, own_lost
        smallest = torch.minimum(smallest, missed)
        left = ((missed > tolerance) & ~own_lost).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        if len(left) < len(open_):
            open_ = open_[left]
            part, own_a, own_b, smallest, own_lost = (t[left] for t in (part, own_a, own_b, smallest, own_lost))
            flip = part.mT
            x, y, fa, between_a, fb, between_b = (t[left] for t in (x, y, fa, between_a, fb, between_b))
        da, db = _direction(part.free(y), fa, fb, between_a, between_b)
        new_a, new_b = own_a + da, own_b + db
        trial = part.clamp(part.v - new_a.unsqueeze(-1) - new_b.unsqueeze(-2))
        ga, gb = trial.sum(-1) - part.rows.at(new_a)[0], trial.sum(-2) - part.columns.at(new_b)[0]
        before, after = ((da * one).sum(-1) + (db * other).sum(-1) for one, other in ((fa, fb), (ga, gb)))
        missed = torch.maximum(ga.abs().amax(-1), gb.abs().amax(-1))
        good = (missed <= _GOOD * smallest) & (after >= -_BEYOND * before)
        hard = (~good).nonzero().squeeze(-1)
        if len(hard):
            some = part[hard]
            own_lost[hard] = _is_ray(some, da[hard], db[hard])
            step = _line_search(some, x[hard], own_a[hard], own_b[hard], da[hard], db[hard]).unsqueeze(-1)
            new_a[hard] = some.best_row_multipliers(own_b[hard] + step * db[hard])
            new_b[hard] = (flip if len(hard) == len(own_a) else flip[hard]).best_row_multipliers(new_a[hard])
        own_a, own_b = new_a, new_b
    return a, b, lost


def _direction(free: Tensor, fa: Tensor, fb: Tensor, between_a: Tensor, between_b: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for Newton's step; the rows are eliminated."""
    da, db = (
        count * (1 + _RIDGE) + _RIDGE + _SLOPE * between
        for count, between in ((free.sum(-1), between_a), (free.sum(-2), between_b))
    )
    scaled = free / da.unsqueeze(-1)
    schur = torch.diag_embed(db) - free.mT @ scaled
    factor = torch.linalg.cholesky_ex(schur)[0]
    right = fb - (fa.unsqueeze(-2) @ scaled).squeeze(-2)
    step = torch.cholesky_solve(right.unsqueeze(-1), factor)
    return (fa - (free @ step).squeeze(-1)) / da, step.squeeze(-1)


def _is_ray(dual: Dual, da: Tensor, db: Tensor) -> Tensor:
    """Whether the dual function increases along a direction for ever: a certificate that the polytope is empty."""
    normal = da.unsqueeze(-1) + db.unsqueeze(-2)
    size = torch.maximum(da.abs().amax(-1), db.abs().amax(-1))
    rounding = (_ROUNDING * size).unsqueeze(-1)
    slope = -_RAY * size * dual.magnitude()
    for change, totals in ((da, dual.rows), (db, dual.columns)):
        slope = slope - _extreme(change, rounding, totals.upper, totals.lower).sum(-1)
    return slope + _extreme(normal, rounding.unsqueeze(-1), dual.lower, dual.upper).sum((-2, -1)) > 0


def _extreme(normal: Tensor, rounding: Tensor, above: Tensor | None, below: Tensor | None) -> Tensor:
    """Return the products of a normal with the bound that it meets, by its sign."""
    high, low = (
        torch.full_like(normal, absent) if t is None else t for t, absent in ((above, -torch.inf), (below, torch.inf))
    )
    return torch.where(normal > rounding, normal * high, torch.where(normal < -rounding, normal * low, 0.0))


def _line_search(dual: Dual, x: Tensor, a: Tensor, b: Tensor, da: Tensor, db: Tensor) -> Tensor:
    """Return the best step along a direction."""
    normals = [(da.unsqueeze(-1) + db.unsqueeze(-2)).flatten(1)]
    points = [x.flatten(1)]
    bounds = [[None if t is None else t.flatten(1)] for t in (dual.lower, dual.upper)]
    total = torch.zeros_like(a[:, 0])
    for value, change, totals in ((a, da, dual.rows), (b, db, dual.columns)):
        if totals.is_fixed:
            total = total + (change * totals.upper).sum(-1)
            continue
        point, low, high = totals.entries(value)
        points.append(point)
        normals.append(change * _ROOT)
        bounds[0].append(low)
        bounds[1].append(high)
    if len(points) == 1:
        lower, upper = bounds[0][0], bounds[1][0]
    else:
        lower, upper = (
            torch.cat([(torch.full_like(points[0], absent) if t is None else t).expand(len(x), -1) for t in parts], -1)
            for parts, absent in zip(bounds, (-torch.inf, torch.inf), strict=True)
        )
    step = search(torch.cat(points, -1), torch.cat(normals, -1), lower, upper, total)
    return torch.where(step.isfinite() & (step > 0), step, 0.0)
