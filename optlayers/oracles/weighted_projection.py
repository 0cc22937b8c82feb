"""The nearest point of a set in a diagonal metric: ``argmin_y sum_i d_i (y_i - v_i)^2``.

With ``z = sqrt(d) * y`` distances are Euclidean, and the set is a scaled one: sections of boxes, L1 and L2 balls and
ellipsoids along the axes stay what they are, with other data. All other sets are compiled once more, by CVXPY, with
the scale as a parameter.
"""

import dataclasses
import weakref

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.oracle import Oracle
from optlayers.parametric.range import filled
from optlayers.projection.compiled_set import CompiledSet
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.ellipsoid import Ellipsoid
from optlayers.sets.l1_ball import L1Ball
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.slab import Slab

scaled_set = Oracle("image under a scale of")
"""Asked of a positive scale ``(*batch, n)``; the answer is ``{scale * y : y in the set}`` as a closed form.

It is the set itself where a diagonal metric makes no difference to the nearest point.
"""

_COMPILED: weakref.WeakKeyDictionary[CompiledSet, FeasibleSet] = weakref.WeakKeyDictionary()


def project_weighted(feasible_set: FeasibleSet, v: Tensor, weights: Tensor) -> Tensor:
    """Return the projection in a diagonal metric, differentiable in the points ``(*batch, *variable.shape)``.

    Of the weights, which have this shape and are positive, only the ratios within a row count. Errors are those of
    `FeasibleSet.project`.
    """
    event = len(feasible_set.variables[0].shape)
    dtype = torch.promote_types(v.dtype, torch.float32)
    point, weights = v.to(dtype), weights.to(dtype)
    mean = weights.flatten(v.ndim - event).mean(-1)[(..., *(None,) * event)] if event else weights
    scale = (weights / mean).sqrt()
    flat, bound = feasible_set.prepare(point)
    if not bound.is_sound(flat):
        return feasible_set.project(v)  # says what is wrong, or does what the set is told to do then
    y = bound.map_pieces(project_scaled, flat, scale.reshape(flat.shape).to(flat))
    return (_by_scaled_set(feasible_set, point, scale) if y is None else y.reshape(v.shape)).to(v.dtype)


def project_scaled(bound: ClosedFormSet | Tied, v: Tensor, scale: Tensor) -> Tensor | None:
    """Return ``argmin_y ||scale * (y - v)||`` over a piece; None where it has no scaled set."""
    other = scaled_set(bound, scale)
    if other is None or other is bound:
        return other and bound.project(v)
    return other.project(scale * v) / scale


def _by_scaled_set(feasible_set: FeasibleSet, v: Tensor, scale: Tensor) -> Tensor:
    """Project onto ``{z : z / scale in the set}``, compiled with ``1 / scale`` as a parameter."""
    compiled = feasible_set.compiled
    if compiled not in _COMPILED:
        variable = feasible_set.variables[0]
        z, inverse = cp.Variable(variable.shape), cp.Parameter(variable.shape, nonneg=True)
        _COMPILED[compiled] = FeasibleSet(
            [*feasible_set.constraints, variable == cp.multiply(inverse, z)],
            z,
            [*feasible_set.parameters, inverse],
            on_failure="nan",
        )
    inverse = 1 / scale.double()
    other = _COMPILED[compiled].bind_like(feasible_set, inverse)
    other.on_failure, other.validate = feasible_set.on_failure, feasible_set.validate
    return other.project(scale.double() * v.double()) * inverse


@scaled_set.register(Box)
def _(box: Box, scale: Tensor) -> Box:
    return box


@scaled_set.register(BoxSection)
def _(section: BoxSection, scale: Tensor) -> BoxSection:
    lower, upper = (None if bound is None else bound * scale for bound in (section.lower, section.upper))
    return dataclasses.replace(section, normal=filled(section.normal, 1.0, scale) / scale, lower=lower, upper=upper)


@scaled_set.register(Slab)
def _(slab: Slab, scale: Tensor) -> Slab:
    return dataclasses.replace(slab, normal=slab.normal / scale)


@scaled_set.register(L1Ball)
def _(ball: L1Ball, scale: Tensor) -> L1Ball:
    center = None if ball.center is None else ball.center * scale
    above = filled(ball.above, 1.0, scale) / scale
    return L1Ball(center, above, None if ball.below is None else ball.below / scale, ball.radius)


@scaled_set.register(L2Ball)
def _(ball: L2Ball, scale: Tensor) -> Ellipsoid:
    center = torch.zeros_like(scale) if ball.center is None else ball.center * scale
    return _ellipsoid(scale.square().reciprocal(), center, ball.radius)


@scaled_set.register(Ellipsoid)
def _(ellipsoid: Ellipsoid, scale: Tensor) -> Ellipsoid | None:
    if ellipsoid.axes is not None:
        return None
    return _ellipsoid(ellipsoid.weights / scale.square(), ellipsoid.center * scale, ellipsoid.radius)


def _ellipsoid(weights: Tensor, center: Tensor, radius: Tensor) -> Ellipsoid:
    largest = weights.amax(-1, keepdim=True)
    return Ellipsoid(weights / largest, None, center, radius / largest.squeeze(-1).sqrt())
