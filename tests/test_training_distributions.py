"""Sets as constraints of torch's distributions, their transforms, and projected samples."""

import math

import cvxpy as cp
import pytest
import torch
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    biject_to,
    transform_to,
)

from optlayers import FeasibleSet
from optlayers.training.integrations.distributions import (
    ProjectedDistribution,
    ProjectionTransform,
    SmoothTransform,
    in_set,
)

x, X = cp.Variable(3), cp.Variable((2, 2), symmetric=True)
SIMPLEX = [x >= 0, cp.sum(x) == 1]
KNAPSACK = [x >= 0, cp.sum(x) <= 1]


def test_a_constraint_checks_values() -> None:
    own = in_set(SIMPLEX)
    values = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.6], [-0.1, 0.6, 0.5], [math.nan, 0, 1], [math.inf, 0, 1]])
    assert own.check(values).tolist() == [True, False, False, False, False]
    assert own.event_dim == 1
    assert not own.is_discrete
    matrices = torch.stack([torch.eye(2), -torch.eye(2), torch.tensor([[1.0, 1.0], [0.0, 1.0]])])
    assert in_set([X >> 0]).check(matrices).tolist() == [True, False, False]
    assert in_set([cp.Variable(nonneg=True) <= 1]).check(torch.tensor([0.5, 2.0])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("constraints", "kind"),
    [
        (SIMPLEX, SmoothTransform),
        (KNAPSACK, SmoothTransform),
        ([cp.norm(x) <= 2], SmoothTransform),
        ([X >> 0], SmoothTransform),
        ([cp.norm1(x) <= 1], ProjectionTransform),
    ],
)
def test_transform_to_lands_in_the_set(constraints: list, kind: type) -> None:
    own = in_set(constraints)
    transform = transform_to(own)
    point = torch.randn(7, *own.feasible_set.variables[0].shape, dtype=torch.float64)
    y = transform(point)
    assert own.check(y).all()
    torch.testing.assert_close(transform(transform.inv(y)), y)
    assert isinstance(transform, kind)
    assert transform.codomain is own


@pytest.mark.parametrize("constraints", [SIMPLEX, [X >> 0], [cp.norm1(x) <= 1]])
def test_no_bijection_is_an_error(constraints: list) -> None:
    with pytest.raises(NotImplementedError, match="Cannot biject_to"):
        biject_to(in_set(constraints))
    with pytest.raises(NotImplementedError):
        transform_to(in_set(constraints)).log_abs_det_jacobian(torch.zeros(3), torch.zeros(3))


def test_a_density_by_a_bijection_is_that_of_torch() -> None:
    """A logistic-normal in a box is torch's own sigmoid transform of the same normal."""
    base = Normal(torch.zeros(3, dtype=torch.float64), 1.0)
    ours = TransformedDistribution(Independent(base, 1), biject_to(in_set([x >= 0, x <= 1])))
    theirs = Independent(TransformedDistribution(base, torch.distributions.SigmoidTransform()), 1)
    value = torch.rand(5, 3, dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    assert ours.event_shape == (3,)
    assert ours.support.check(ours.rsample((4,))).all()


def test_a_density_integrates_to_one() -> None:
    plane = cp.Variable(2)
    base = Independent(Normal(torch.zeros(2, dtype=torch.float64), 1.5), 1)
    own = TransformedDistribution(base, biject_to(in_set([plane >= 0, cp.sum(plane) <= 1])), validate_args=False)
    n = 400
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    points = torch.cartesian_prod(grid, grid)
    points = points[points.sum(-1) < 1 - 1e-9]
    assert abs(own.log_prob(points).exp().sum().item() / n**2 - 1) < 2e-2


def test_projected_samples() -> None:
    base = Normal(torch.randn(5, 3), 2.0)
    own = ProjectedDistribution(base, SIMPLEX)
    assert own.batch_shape == (5,)
    assert own.event_shape == (3,)
    assert own.has_rsample
    samples = own.sample((100,))
    assert samples.shape == (100, 5, 3)
    assert own.support.check(samples).all()
    assert (samples == 0).any()
    torch.manual_seed(3)
    first = own.rsample((2,))
    torch.manual_seed(3)
    torch.testing.assert_close(first, FeasibleSet(SIMPLEX).project(base.rsample((2,))))
    assert own.expand((2, 5)).sample().shape == (2, 5, 3)
    full = ProjectedDistribution(MultivariateNormal(torch.zeros(3), torch.eye(3)), SIMPLEX)
    assert full.expand((4,)).sample((2,)).shape == (2, 4, 3)


def test_gradients_of_samples_are_those_of_the_expectation() -> None:
    """``E max(0, mean + z)`` has the derivative ``P(z > -mean)`` in the mean."""
    scalar = cp.Variable()
    mean = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    own: Distribution = ProjectedDistribution(Normal(mean, 1.0), [scalar >= 0])
    own.rsample((200_000,)).mean().backward()
    assert mean.grad is not None
    assert abs(mean.grad.item() - Normal(0.0, 1.0).cdf(torch.tensor(0.5)).item()) < 5e-3


def test_what_is_not_defined_says_so() -> None:
    own = ProjectedDistribution(Normal(torch.zeros(3), 1.0), SIMPLEX)
    with pytest.raises(NotImplementedError, match="no density with respect to the Lebesgue measure"):
        own.log_prob(torch.tensor([0.2, 0.3, 0.5]))
    for moment in ("mean", "variance"):
        with pytest.raises(NotImplementedError):
            getattr(own, moment)
    with pytest.raises(ValueError, match=r"the variable has the shape \(3,\)"):
        ProjectedDistribution(Normal(torch.zeros(4), 1.0), SIMPLEX)
    scalar = cp.Variable()
    with pytest.raises(ValueError, match="to hold their events"):
        ProjectedDistribution(MultivariateNormal(torch.zeros(3), torch.eye(3)), [scalar >= 0])
