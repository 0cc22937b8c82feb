"""Linear minimisation, ``argmin_{s in C} <g, s>``: an extreme point, with no projection.

Each recognised piece has a formula: boxes, sections of boxes (fractional knapsacks), balls, sets of eigenvalues and
singular values, assignments. A set with any other piece is given to CVXPY, sample by sample, which is right but slow.
"""

import functools
import weakref

import cvxpy as cp
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from optlayers.bound_set import BoundSet
from optlayers.errors import InfeasibleError
from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.assignment import cheapest_assignment
from optlayers.oracles.oracle import Oracle, ask
from optlayers.oracles.program import Program
from optlayers.parametric.range import clamp, filled
from optlayers.projection.compiled_set import CompiledSet
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
from optlayers.sets.transport_plan import TransportPlan

linear_minimum = Oracle("linear minimisation over", is_isometric=True)
"""Asked of a gradient ``(*batch, n)``. Where there is no minimum, the answer is not finite."""

_UNBOUNDED = "the set is not bounded in the direction asked for: add bounds, or project (project_after_step)"
_PROGRAMS: weakref.WeakKeyDictionary[CompiledSet, Program] = weakref.WeakKeyDictionary()


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
    vertex = ask(linear_minimum, feasible_set, gradient, functools.partial(minimise_by_cvxpy, feasible_set))
    if not bool(vertex.isfinite().all()):
        raise ValueError(_UNBOUNDED)
    return vertex


@linear_minimum.register(Box)
def _(box: Box, g: Tensor) -> Tensor:
    lower, upper = filled(box.lower, -torch.inf, g), filled(box.upper, torch.inf, g)
    return torch.where(g > 0, lower, torch.where(g < 0, upper, clamp(torch.zeros_like(g), lower, upper)))


@linear_minimum.register(BoxSection)
def _(section: BoxSection, g: Tensor) -> Tensor | None:
    """Fill a fractional knapsack (Dantzig, "Discrete-variable extremum problems", 1957).

    From the least total, entries are raised in the order of what a unit of total gains, ``-g_i / normal_i``.
    """
    g, normal, low, high = torch.broadcast_tensors(g, *section.extremes())
    if not bool(low.isfinite().all()):
        return None
    counts = normal != 0
    start = torch.where(counts, low, linear_minimum(Box(section.lower, section.upper), g))
    gain = torch.where(counts, -g / normal, -torch.inf)
    room = torch.where(counts, normal * (high - low), 0)
    least = (normal * low).sum(-1)
    total = section.total.clamp(least + torch.where(gain > 0, room, 0).sum(-1))
    gain, order = gain.sort(-1, descending=True)
    room = room.gather(-1, order)
    used = pad(room.cumsum(-1)[..., :-1], (1, 0))
    filling = ((total - least).unsqueeze(-1) - used).clamp_min(0).minimum(room)
    return start.scatter_add(-1, order, torch.where(gain > -torch.inf, filling / normal.gather(-1, order), 0))


@linear_minimum.register(L1Ball)
def _(ball: L1Ball, g: Tensor) -> Tensor:
    """Go the whole way along the axis that gains most for its weight."""
    above = filled(ball.above, 1.0, g)
    g, *sides = torch.broadcast_tensors(g, above, above if ball.below is None else ball.below)
    weights, slope = torch.cat(sides, -1), torch.cat([-g, g], -1)
    gains = torch.where(slope > 0, slope / weights, 0)
    best = gains.argmax(-1, keepdim=True)
    length = torch.where(gains.gather(-1, best) > 0, ball.radius.unsqueeze(-1) / weights.gather(-1, best), 0)
    above, below = torch.zeros_like(gains).scatter(-1, best, length).chunk(2, -1)
    return filled(ball.center, 0.0, g) + above - below


@linear_minimum.register(L2Ball)
def _(ball: L2Ball, g: Tensor) -> Tensor:
    return filled(ball.center, 0.0, g) - ball.radius.unsqueeze(-1) * _unit(g)


@linear_minimum.register(Ellipsoid)
def _(ellipsoid: Ellipsoid, g: Tensor) -> Tensor:
    """Minimise over the unit ball in the coordinates ``sqrt(weights) * axes @ (y - center)``."""
    axes = ellipsoid.axes
    slope = g if axes is None else torch.einsum("...ij,...j->...i", axes, g)
    root = torch.where(slope == 0, 1, ellipsoid.weights.sqrt())
    z = -ellipsoid.radius.unsqueeze(-1) * _unit(slope / root) / root
    return ellipsoid.center + (z if axes is None else torch.einsum("...ij,...i->...j", axes, z))


@linear_minimum.register(SpectralSet)
def _(spectral: SpectralSet, g: Tensor) -> Tensor | None:
    """Where the matrix need not be symmetric, a gradient of its other part has no minimum."""
    y = _with_eigenvalues(spectral.section(), spectral.center, g)
    if y is None or spectral.is_symmetric:
        return y
    matrix = g.unflatten(-1, spectral.center.shape[-2:])
    return torch.where((matrix == matrix.mT).flatten(-2).all(-1, keepdim=True), y, torch.inf)


@linear_minimum.register(NuclearNormBall, SpectralNormBall)
def _(ball: NuclearNormBall | SpectralNormBall, g: Tensor) -> Tensor:
    """Keep the gradient's singular vectors: the first pair for the sum of the singular values, all for the largest."""
    u, _, vh = torch.linalg.svd(g.unflatten(-1, ball.center.shape[-2:]), full_matrices=False)
    rank = 1 if isinstance(ball, NuclearNormBall) else u.shape[-1]
    return (ball.center - ball.radius[..., None, None] * (u[..., :, :rank] @ vh[..., :rank, :])).flatten(-2)


@linear_minimum.register(SymmetricNuclearNormBall)
def _(ball: SymmetricNuclearNormBall, g: Tensor) -> Tensor | None:
    return _with_eigenvalues(L1Ball(None, None, None, ball.radius), ball.center, g)


def _with_eigenvalues(values: ClosedFormSet, center: Tensor, g: Tensor) -> Tensor | None:
    """Keep the gradient's eigenvectors, and minimise over the eigenvalues of ``Y - center``."""
    matrix = g.unflatten(-1, center.shape[-2:])
    slopes, basis = torch.linalg.eigh((matrix + matrix.mT) / 2)
    minimum = linear_minimum(values, slopes)
    return None if minimum is None else (center + (basis * minimum.unsqueeze(-2)) @ basis.mT).flatten(-2)


@linear_minimum.register(TransportPlan)
def _(plan: TransportPlan, g: Tensor) -> Tensor | None:
    """Assign rows to columns, if the set is a multiple of Birkhoff's polytope."""
    m, n = plan.shape
    is_fixed = plan.rows.is_fixed and plan.columns.is_fixed
    if plan.entry is not None or m != n or not is_fixed or plan.lower is None or bool(plan.lower.any()):
        return None
    total = plan.rows.value[..., :1]
    if any(bool((totals != total).any()) for totals in (plan.rows.value, plan.columns.value)):
        return None
    if plan.upper is not None and bool((plan.upper < total).any()):
        return None
    return total * cheapest_assignment(g.unflatten(-1, (n, n))).flatten(-2)


def _unit(vector: Tensor) -> Tensor:
    return normalize(vector, dim=-1, eps=torch.finfo(vector.dtype).tiny)


def minimise_by_cvxpy(feasible_set: FeasibleSet, g: Tensor, bound: BoundSet) -> Tensor:
    """Return ``argmin_{s in C} <g, s>`` for gradients ``(*batch, n)`` over any set, one program a sample."""
    if bound.compiled not in _PROGRAMS:
        copy = feasible_set.snapshot
        _PROGRAMS[bound.compiled] = Program(copy.constraints, copy.variables, copy.parameters, cp.scalar_product)
    slope = g / g.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    values = [t.expand(*g.shape[:-1], t.shape[-1]).reshape(-1, t.shape[-1]) for t in bound.values.tensors]
    vertex, is_empty = _PROGRAMS[bound.compiled].solve(slope.reshape(-1, g.shape[-1]), values)
    if bool(is_empty.any()):
        raise InfeasibleError("The set is empty: no point satisfies its constraints.", ())
    return vertex.reshape(g.shape)
