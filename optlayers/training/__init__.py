"""Constrained training: the same sets for projected optimizers, reparametrization, penalties and multipliers.

The callbacks for other trainers, and the constraints for Cooper, are in `optlayers.training.integrations`.
"""

from optlayers.oracles.linear_minimisation import minimise_linear
from optlayers.oracles.smooth_maps import register_smooth_map
from optlayers.training.constrain import ConstrainedTensor, constrain
from optlayers.training.discrete.discrete import DiscreteLayer
from optlayers.training.discrete.gumbel import GumbelSoftmax
from optlayers.training.integrations.distributions import ProjectedDistribution, in_set
from optlayers.training.monitoring.diagnoses import ConstraintWarning
from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.monitoring.plotting import plot_set
from optlayers.training.priced.adaptive import Adaptive
from optlayers.training.priced.augmented_lagrangian import AugmentedLagrangian
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.fair_projection import FairProjection
from optlayers.training.priced.fairness import FairnessConstraint
from optlayers.training.priced.in_set import InSet
from optlayers.training.priced.lagrangian import Lagrangian
from optlayers.training.priced.penalty import Penalty
from optlayers.training.priced.relations import Equality, Inequality
from optlayers.training.projected.exponentiated_gradient import ExponentiatedGradient
from optlayers.training.projected.frank_wolfe import FrankWolfe, stochastic_momentum
from optlayers.training.projected.project_after_step import ProjectedParameters, project_after_step
from optlayers.training.reparametrized.parametrize import parametrize
from optlayers.training.schedules.clock import Clock
from optlayers.training.schedules.scheduled_set import ScheduledSet
from optlayers.training.schedules.schedules import geometric, linear

__all__ = [
    "PI",
    "Adaptive",
    "AugmentedLagrangian",
    "Clock",
    "ConstrainedTensor",
    "ConstraintWarning",
    "DiscreteLayer",
    "Equality",
    "ExponentiatedGradient",
    "FairProjection",
    "FairnessConstraint",
    "FrankWolfe",
    "GumbelSoftmax",
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
