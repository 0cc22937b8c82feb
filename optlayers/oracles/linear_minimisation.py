"""The linear minimisation oracle of a set, ``argmin_{s in C} <g, s>``: an extreme point, with no projection.

Each recognised piece has a formula: boxes, sections of boxes (fractional knapsacks), balls, sets of eigenvalues and
singular values, assignments. A set with any other piece is given to CVXPY, sample by sample, which is right but slow.
"""

from __future__ import annotations

import functools

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.linear_program import minimise_by_cvxpy
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.ellipsoid import Ellipsoid
from optlayers.sets.l1_ball import L1Ball
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.nuclear_norm_ball import NuclearNormBall
from optlayers.sets.spectral_norm_ball import SpectralNormBall
from optlayers.sets.spectral_set import SpectralSet
from optlayers.sets.symmetric_nuclear_norm_ball import SymmetricNuclearNormBall
from optlayers.sets.symmetric_part import SymmetricPart
from optlayers.sets.transport_plan import TransportPlan


@torch.no_grad()
def minimise_linear(feasible_set: FeasibleSet, gradient: Tensor) -> Tensor:
    """Return a minimiser of a linear function over a bounded set.

    Parameters
    ----------
    feasible_set : FeasibleSet
        On one variable.
    gradient : Tensor, shape (*batch, *variable.shape)

    Returns
    -------
    Tensor, of the gradient's shape, dtype and device
        Where several points are minimal, one of them.

    Raises
    ------
    ValueError
        If the function has no minimum, since the set is not bounded.
    InfeasibleError, NotSolvedError
        If the set is empty, or CVXPY finds no answer.
    """
    g, bound = feasible_set.prepare(gradient)
    if not bound.is_sound(g):
        feasible_set.project(gradient)  # says what is wrong
        raise ValueError("the linear minimisation oracle needs finite gradients and sets that are not empty")
    vertex = bound.map_pieces(minimiser, g)
    if vertex is None:
        vertex = minimise_by_cvxpy(feasible_set, g, bound.values)
    if not bool(vertex.isfinite().all()):
        raise _unbounded()
    return vertex.expand(g.shape).reshape(gradient.shape).to(gradient.dtype)


def _unbounded() -> ValueError:
    return ValueError("the set is not bounded in the direction asked for: add bounds, or project (project_after_step)")


@functools.singledispatch
def minimiser(own: ClosedFormSet | Tied, g: Tensor) -> Tensor | None:
    """Return a minimiser of ``<g, s>`` over a closed-form set; None if there is no formula, not finite if no minimum.

    Sets of one's own are registered with ``minimiser.register``.

    Parameters
    ----------
    own : ClosedFormSet
    g : Tensor, shape (*batch, n)
    """
    return None


@minimiser.register
def _(own: Tied, g: Tensor) -> Tensor | None:
    inner = minimiser(own.inner, g @ own.matrix)
    return None if inner is None else inner @ own.matrix.mT


@minimiser.register
def _(own: Box, g: Tensor) -> Tensor:
    lower, upper = _bounds(own.lower, own.upper, g)
    anywhere = torch.zeros_like(g).maximum(lower).minimum(upper)
    return torch.where(g > 0, lower, torch.where(g < 0, upper, anywhere))


def _bounds(lower: Tensor | None, upper: Tensor | None, g: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.full_like(g, -torch.inf) if lower is None else lower.expand_as(g),
        torch.full_like(g, torch.inf) if upper is None else upper.expand_as(g),
    )


@minimiser.register
def _(own: BoxSection, g: Tensor) -> Tensor | None:
    """Fill a fractional knapsack (Dantzig, "Discrete-variable extremum problems", 1957).

    Entry `i` adds ``c_i = normal_i * y_i`` to the total, between `least` and `most`. From the least total, entries are
    raised in the order of what a unit of total gains, ``-g_i / normal_i``, up to the total.
    """
    lower, upper = _bounds(own.lower, own.upper, g)
    normal = torch.ones_like(g) if own.normal is None else own.normal.expand_as(g)
    counts = normal != 0
    y = torch.where(normal < 0, upper, lower)
    gain = torch.where(counts, -g / normal, 0)
    room = torch.where(counts, normal.abs() * (upper - lower), 0)
    if not bool(y[counts].isfinite().all()):
        return None
    y = torch.where(counts, y, Box(lower, upper).project(torch.zeros_like(g)))
    y = torch.where(~counts & (g > 0), lower, torch.where(~counts & (g < 0), upper, y))
    least = torch.where(counts, normal * y, 0).sum(-1)
    total = own.total.clamp(least + torch.where(gain > 0, room, 0).sum(-1))
    gains, order = gain.masked_fill(~counts, -torch.inf).sort(-1, descending=True)
    rooms = room.gather(-1, order)
    before = torch.cat([torch.zeros_like(rooms[..., :1]), rooms.cumsum(-1)[..., :-1]], -1)
    filled = ((total - least).unsqueeze(-1) - before).clamp_min(0).minimum(rooms)
    share = torch.where(gains > -torch.inf, filled / normal.gather(-1, order), 0)
    return y.scatter_add(-1, order, share)


@minimiser.register
def _(own: L1Ball, g: Tensor) -> Tensor:
    """Go the whole way along the axis that gains most for its weight."""
    above = torch.ones_like(g) if own.above is None else own.above.expand_as(g)
    weights = torch.stack([above, above if own.below is None else own.below.expand_as(g)], -2)
    slope = torch.stack([-g, g], -2)
    gains = torch.where(slope > 0, slope / weights, 0).flatten(-2)
    best = gains.argmax(-1, keepdim=True)
    way = torch.where(gains.gather(-1, best) > 0, own.radius.unsqueeze(-1) / weights.flatten(-2).gather(-1, best), 0)
    moves = torch.zeros_like(gains).scatter(-1, best, way).unflatten(-1, (2, -1))
    offset = moves[..., 0, :] - moves[..., 1, :]
    return offset if own.center is None else own.center + offset


@minimiser.register
def _(own: L2Ball, g: Tensor) -> Tensor:
    offset = -own.radius.unsqueeze(-1) * torch.nn.functional.normalize(g, dim=-1, eps=torch.finfo(g.dtype).tiny)
    return offset if own.center is None else own.center + offset


@minimiser.register
def _(own: Ellipsoid, g: Tensor) -> Tensor:
    h = g if own.axes is None else torch.einsum("...ij,...j->...i", own.axes, g)
    root = torch.where(h == 0, 1, own.weights.sqrt())
    ball = torch.nn.functional.normalize(h / root, dim=-1, eps=torch.finfo(g.dtype).tiny)
    z = -own.radius.unsqueeze(-1) * ball / root
    return own.center + (z if own.axes is None else torch.einsum("...ij,...i->...j", own.axes, z))


@minimiser.register
def _(own: SpectralSet, g: Tensor) -> Tensor | None:
    """Keep the gradient's eigenvectors, and minimise over the eigenvalues."""
    matrix = g.unflatten(-1, own.center.shape[-2:])
    level, basis = torch.linalg.eigh((matrix + matrix.mT) / 2)
    values = minimiser(own.section(), level)
    if values is None:
        return None
    product = (basis * torch.where(values.isfinite(), values, torch.nan).unsqueeze(-2)) @ basis.mT
    return (own.center + product).flatten(-2)


@minimiser.register
def _(own: SymmetricPart, g: Tensor) -> Tensor | None:
    """Where the other part has a gradient there is no minimum."""
    matrix = g.unflatten(-1, own.center.shape[-2:])
    free = ((matrix - matrix.mT) != 0).any(-1).any(-1)
    inside = minimiser.dispatch(SpectralSet)(own, g)
    return None if inside is None else torch.where(free.unsqueeze(-1), torch.inf, inside)


@minimiser.register
def _(own: NuclearNormBall, g: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(g.unflatten(-1, own.center.shape[-2:]), full_matrices=False)
    return (own.center - own.radius[..., None, None] * u[..., :, :1] * vh[..., :1, :]).flatten(-2)


@minimiser.register
def _(own: SymmetricNuclearNormBall, g: Tensor) -> Tensor:
    matrix = g.unflatten(-1, own.center.shape[-2:])
    level, basis = torch.linalg.eigh((matrix + matrix.mT) / 2)
    best = level.abs().argmax(-1, keepdim=True)
    vector = basis.gather(-1, best.unsqueeze(-2).expand(*basis.shape[:-1], 1))
    weight = -own.radius.unsqueeze(-1) * level.gather(-1, best).sign()
    return (own.center + weight.unsqueeze(-1) * vector * vector.mT).flatten(-2)


@minimiser.register
def _(own: SpectralNormBall, g: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(g.unflatten(-1, own.center.shape[-2:]), full_matrices=False)
    return (own.center - own.radius[..., None, None] * (u @ vh)).flatten(-2)


@minimiser.register
def _(own: TransportPlan, g: Tensor) -> Tensor | None:
    """Assign rows to columns (SciPy's shortest augmenting paths), if the set is a multiple of Birkhoff's polytope."""
    m, n = own.shape
    fixed = own.rows.is_fixed and own.columns.is_fixed
    if own.entry is not None or m != n or not fixed or own.lower is None or bool(own.lower.any()):
        return None
    total = own.rows.value[..., :1]
    capped = own.upper is not None and bool((own.upper < total).any())
    if capped or bool((own.rows.value != total).any()) or bool((own.columns.value != total).any()):
        return None
    costs = g.reshape(-1, n, n)
    plans = torch.zeros_like(costs)
    for plan, cost in zip(plans, costs.double().cpu().numpy(), strict=True):
        rows, columns = linear_sum_assignment(cost)
        plan[torch.as_tensor(rows), torch.as_tensor(columns)] = 1
    return total * plans.reshape(g.shape)
