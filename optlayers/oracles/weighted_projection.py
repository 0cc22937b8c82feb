"""The nearest point of a set in a diagonal metric: ``argmin_y sum_i d_i (y_i - v_i)^2``.

With ``z = sqrt(d) * y`` distances are Euclidean, and the set is a scaled one: sections of boxes, L1 and L2 balls and
ellipsoids along the axes stay what they are, with other data. All other sets are compiled once more, by CVXPY, with
the scale as a parameter.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.feasible_set import FeasibleSet
from optlayers.projection.compiled_set import CompiledSet
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet
from optlayers.sets.box import Box
from optlayers.sets.box_section import BoxSection
from optlayers.sets.ellipsoid import Ellipsoid
from optlayers.sets.l1_ball import L1Ball
from optlayers.sets.l2_ball import L2Ball
from optlayers.sets.slab import Slab

_SCALED: weakref.WeakKeyDictionary[CompiledSet, FeasibleSet] = weakref.WeakKeyDictionary()


def project_weighted(feasible_set: FeasibleSet, v: Tensor, weights: Tensor) -> Tensor:
    """Return the projection in a diagonal metric, differentiable in the points.

    Parameters
    ----------
    feasible_set : FeasibleSet
        On one variable.
    v : Tensor, shape (*batch, *variable.shape)
    weights : Tensor, of the shape of `v`
        Positive; only their ratios within a row count.

    Raises
    ------
    ValueError, InfeasibleError, NotSolvedError
        As for `FeasibleSet.project`.
    """
    event = len(feasible_set.variables[0].shape)
    own = torch.promote_types(v.dtype, torch.float32)
    mean = weights.to(own).flatten(v.ndim - event).mean(-1)[(..., *(None,) * event)] if event else weights.to(own)
    scale = (weights.to(own) / mean).sqrt()
    y = _by_closed_forms(feasible_set, v.to(own), scale)
    return (_by_scaled_set(feasible_set, v.to(own), scale) if y is None else y).to(v.dtype)


def _by_closed_forms(feasible_set: FeasibleSet, v: Tensor, scale: Tensor) -> Tensor | None:
    """Project onto the pieces, if each stays a closed form under the scale."""
    compiled = feasible_set.compiled
    if compiled.general or any(
        piece.ties is not None or piece.kind not in scaled.registry for piece in compiled.pieces
    ):
        return None
    flat, bound = feasible_set.prepare(v)
    if not bound.is_sound(flat):
        return feasible_set.project(v)  # says what is wrong, or does what the set is told to do then
    y = bound.map_pieces(_project_scaled, flat, scale.reshape(flat.shape).to(flat))
    return None if y is None else y.reshape(v.shape).to(v.dtype)


def _project_scaled(own: ClosedFormSet | Tied, v: Tensor, scale: Tensor) -> Tensor | None:
    other = None if isinstance(own, Tied) else scaled(own, scale)
    if other is None:
        return None
    return own.project(v) if other is own else other.project(scale * v) / scale


def _by_scaled_set(feasible_set: FeasibleSet, v: Tensor, scale: Tensor) -> Tensor:
    """Project onto ``{z : z / scale in the set}``, compiled with ``1 / scale`` as a parameter."""
    compiled = feasible_set.compiled
    if compiled not in _SCALED:
        variable = feasible_set.variables[0]
        z, inverse = cp.Variable(variable.shape), cp.Parameter(variable.shape, nonneg=True)
        _SCALED[compiled] = FeasibleSet(
            [*feasible_set.constraints, variable == cp.multiply(inverse, z)],
            z,
            [*feasible_set.parameters, inverse],
            on_failure="nan",
        )
    inverse = 1 / scale.double()
    other = _SCALED[compiled].bind_like(feasible_set, inverse)
    other.on_failure, other.validate = feasible_set.on_failure, feasible_set.validate
    y = other.project(scale.double() * v.double()) * inverse
    return y.to(v.dtype)


@functools.singledispatch
def scaled(own: ClosedFormSet, scale: Tensor) -> ClosedFormSet | None:
    """Return the set ``{scale * y : y in own}``; `own` itself where the metric makes no difference, None if unknown.

    Parameters
    ----------
    own : ClosedFormSet
    scale : Tensor, shape (*batch, n)
        Positive.
    """
    return None


@scaled.register
def _(own: Box, scale: Tensor) -> ClosedFormSet:
    return own


@scaled.register
def _(own: BoxSection, scale: Tensor) -> ClosedFormSet:
    lower, upper = (None if bound is None else bound * scale for bound in (own.lower, own.upper))
    normal = 1 / scale if own.normal is None else own.normal / scale
    return dataclasses.replace(own, normal=normal, lower=lower, upper=upper)


@scaled.register
def _(own: Slab, scale: Tensor) -> ClosedFormSet:
    return dataclasses.replace(own, normal=own.normal / scale)


@scaled.register
def _(own: L1Ball, scale: Tensor) -> ClosedFormSet:
    center = None if own.center is None else own.center * scale
    above = 1 / scale if own.above is None else own.above / scale
    return L1Ball(center, above, None if own.below is None else own.below / scale, own.radius)


@scaled.register
def _(own: L2Ball, scale: Tensor) -> ClosedFormSet:
    center = torch.zeros_like(scale) if own.center is None else own.center * scale
    return _ellipsoid(scale.square().reciprocal(), center, own.radius)


@scaled.register
def _(own: Ellipsoid, scale: Tensor) -> ClosedFormSet | None:
    return None if own.axes is not None else _ellipsoid(own.weights / scale.square(), own.center * scale, own.radius)


def _ellipsoid(weights: Tensor, center: Tensor, radius: Tensor) -> Ellipsoid:
    largest = weights.amax(-1, keepdim=True)
    return Ellipsoid(weights / largest, None, center, radius / largest.squeeze(-1).sqrt())
