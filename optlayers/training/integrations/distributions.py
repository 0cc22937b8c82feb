"""Sets in `torch.distributions`: constraints with their transforms, and the distributions of projected samples."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints, transform_to
from torch.distributions.transforms import Transform

from optlayers.feasible_set import FeasibleSet
from optlayers.oracles.smooth_set import SmoothSet
from optlayers.training.schedules.scheduled_set import Constraints, as_scheduled_set


class SetConstraint(constraints.Constraint):
    """The constraint that a value lies in a feasible set; see `in_set`.

    ``transform_to(constraint)`` is the smooth map onto the set's interior where there is one, else the projection.
    ``biject_to(constraint)`` is the smooth map where it is a bijection with the interior (boxes, half-spaces,
    knapsacks, monotone sequences, balls, ellipsoids), with its density; else it raises NotImplementedError.

    `atol` is the violation that `check` lets pass.
    """

    is_discrete = False

    def __init__(self, feasible_set: FeasibleSet, atol: float) -> None:
        self.feasible_set, self.atol = feasible_set, atol
        self.event_dim = len(feasible_set.variables[0].shape)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return whether each value is in the set, ``(*batch,)``; NaN and infinity are not."""
        finite = value.isfinite()
        inside = self.feasible_set.contains(value.nan_to_num(), atol=self.atol)
        return inside & (finite.flatten(-self.event_dim).all(-1) if self.event_dim else finite)

    def __repr__(self) -> str:
        return f"SetConstraint({self.feasible_set})"


def in_set(constraints: Constraints, atol: float = 1e-5) -> SetConstraint:
    """Return CVXPY constraints, or a feasible set, on one variable as a constraint of `torch.distributions`."""
    return SetConstraint(as_scheduled_set(constraints).at(0), atol)


class _OntoSet(Transform):
    """A map of all points onto a set."""

    def __init__(self, constraint: SetConstraint, cache_size: int = 0) -> None:
        self.constraint, self.codomain = constraint, constraint
        self.domain = constraints.independent(constraints.real, constraint.event_dim)
        super().__init__(cache_size)

    def with_cache(self, cache_size: int = 1) -> Self:
        """Return the transform with another cache."""
        return self if self._cache_size == cache_size else type(self)(self.constraint, cache_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.codomain is other.codomain

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
        return id(self.codomain)


class SmoothTransform(_OntoSet):
    """The smooth map onto a set's interior; raises ValueError for sets without one.

    With ``cache_size=1`` the last pair is remembered, so that the inverse of what was just computed is exact.
    """

    def __init__(self, constraint: SetConstraint, cache_size: int = 0) -> None:
        self.smooth_set = SmoothSet.of(constraint.feasible_set)
        self.bijective = self.smooth_set.is_bijective
        super().__init__(constraint, cache_size)

    def _call(self, x: Tensor) -> Tensor:
        return self.smooth_set.forward(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.smooth_set.inverse(y, torch.finfo(y.dtype).eps)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithm of the Jacobian's absolute determinant, ``(*batch,)``, of a bijective map."""
        if not self.bijective:
            raise NotImplementedError(
                f"the smooth map onto {self.smooth_set.feasible_set} is not a bijection: no density"
            )
        return self.smooth_set.log_abs_det(x)


class ProjectionTransform(_OntoSet):
    """The projection onto a set, for those without a smooth map; its inverse is the identity."""

    bijective = False

    def _call(self, x: Tensor) -> Tensor:
        return self.constraint.feasible_set.project(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return y


@transform_to.register(SetConstraint)
def _transform_to(constraint: SetConstraint) -> Transform:
    try:
        return SmoothTransform(constraint)
    except ValueError:  # no smooth map
        return ProjectionTransform(constraint)


@biject_to.register(SetConstraint)
def _biject_to(constraint: SetConstraint) -> Transform:
    transform = _transform_to(constraint)
    if not transform.bijective:
        raise NotImplementedError(f"Cannot biject_to {constraint}: no bijection with its interior; see transform_to")
    return transform


class ProjectedDistribution(Distribution):
    """The distribution of the projections of samples of another one, ``P(z)`` with ``z ~ base``.

    Samples are reparametrized where those of the base are: their gradients go through the projection. They lie on the
    set's boundary with positive probability (all of them, where the set has no interior), so that there is no density
    with respect to the Lebesgue measure: `log_prob` raises NotImplementedError, and a Kullback-Leibler term is for the
    base. Mean and variance have no formula either: average samples.

    Parameters
    ----------
    base : Distribution
        Its event shape, or the end of its batch shape and the event shape together, is the variable's.
    constraints : list of cvxpy.Constraint, or FeasibleSet
        On one variable.

    Examples
    --------
    >>> import cvxpy as cp, torch
    >>> from torch.distributions import Normal
    >>> x = cp.Variable(3)
    >>> mixtures = ProjectedDistribution(Normal(torch.zeros(3), 1.0), [x >= 0, cp.sum(x) == 1])
    >>> mixtures.rsample((2,)).sum(-1)
    tensor([1., 1.])
    """

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def __init__(self, base: Distribution, constraints: Constraints, validate_args: bool | None = None) -> None:
        scheduled_set = as_scheduled_set(constraints)
        shape, event = (*base.batch_shape, *base.event_shape), len(scheduled_set.shape)
        if tuple(shape[len(shape) - event :]) != scheduled_set.shape or event < len(base.event_shape):
            raise ValueError(
                f"the base has samples of shape {tuple(shape)} (event shape {tuple(base.event_shape)}), the variable "
                f"has the shape {scheduled_set.shape}: expected it to be the end of the samples' shape, and to hold "
                "their events"
            )
        self.base, self.feasible_set = base, scheduled_set.at(0)
        self.has_rsample = base.has_rsample
        self._constraint = in_set(self.feasible_set)
        super().__init__(torch.Size(shape[: len(shape) - event]), torch.Size(scheduled_set.shape), validate_args)

    @property
    def support(self) -> SetConstraint:
        """The set."""
        return self._constraint

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return projected samples, ``(*sample_shape, *batch_shape, *event_shape)``, with gradients."""
        return self.feasible_set.project(self.base.rsample(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return projected samples without gradients."""
        with torch.no_grad():
            return self.feasible_set.project(self.base.sample(sample_shape))

    def expand(self, batch_shape: Any, _instance: object = None) -> Self:
        """Return the distribution with another batch shape."""
        extra = len(self.event_shape) - len(self.base.event_shape)
        inner = torch.Size(self.base.batch_shape[len(self.base.batch_shape) - extra :]) if extra else torch.Size()
        base = self.base.expand(torch.Size((*batch_shape, *inner)))
        return type(self)(base, self.feasible_set, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise NotImplementedError: there is no density."""
        raise NotImplementedError(
            "a projected distribution has no density with respect to the Lebesgue measure: it puts positive "
            "probability on the set's boundary. Take the base's log_prob of unprojected samples, or a distribution "
            "on the interior: TransformedDistribution(base, biject_to(in_set(constraints)))"
        )


__all__ = ["ProjectedDistribution", "ProjectionTransform", "SetConstraint", "SmoothTransform", "in_set"]
