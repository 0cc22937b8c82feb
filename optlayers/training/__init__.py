"""Constrained training: the same sets held by projected optimizers, reparametrization, penalties or multipliers.

The callbacks for other trainers are in `optlayers.training.lightning` and `optlayers.training.transformers`, the
constraints for Cooper in `optlayers.training.cooper`.
"""

from optlayers.training.adaptive import Adaptive
from optlayers.training.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.constrain import Held, constrain
from optlayers.training.controllers import PI
from optlayers.training.diagnoses import ConstraintWarning
from optlayers.training.discrete import DiscreteLayer
from optlayers.training.distributions import ProjectedDistribution, in_set
from optlayers.training.exponentiated_gradient import ExponentiatedGradient
from optlayers.training.fair_projection import FairProjection
from optlayers.training.fairness import FairnessConstraint
from optlayers.training.frank_wolfe import FrankWolfe, stochastic_momentum
from optlayers.training.gumbel import GumbelSoftmax
from optlayers.training.lagrangian import Lagrangian
from optlayers.training.linear_minimisation import minimise_linear
from optlayers.training.monitor import Monitor
from optlayers.training.parametrize import parametrize
from optlayers.training.penalty import Penalty
from optlayers.training.plotting import plot_set
from optlayers.training.project_after_step import ProjectedParameters, project_after_step
from optlayers.training.relations import Equality, Inequality, InSet
from optlayers.training.scheduled_set import ScheduledSet
from optlayers.training.schedules import geometric, linear
from optlayers.training.smooth_maps import register_smooth_map

__all__ = [
    "PI",
    "Adaptive",
    "AugmentedLagrangian",
    "ConstraintWarning",
    "DiscreteLayer",
    "Equality",
    "ExponentiatedGradient",
    "FairProjection",
    "FairnessConstraint",
    "FrankWolfe",
    "GumbelSoftmax",
    "Held",
    "InSet",
    "Inequality",
    "Lagrangian",
    "Monitor",
    "Penalty",
    "ProjectedDistribution",
    "ProjectedParameters",
    "ScheduledSet",
    "constrain",
    "geometric",
    "in_set",
    "linear",
    "minimise_linear",
    "parametrize",
    "plot_set",
    "project_after_step",
    "register_smooth_map",
    "stochastic_momentum",
]
