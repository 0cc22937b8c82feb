"""optlayers: declare a convex set in CVXPY, get a PyTorch layer that returns the nearest feasible point."""

from optlayers.comparison import Comparison, compare
from optlayers.errors import InfeasibleError, NotConvexError, NotParametrizedError, NotSolvedError
from optlayers.feasible_set import FeasibleSet
from optlayers.layer import ProjectionLayer
from optlayers.solution import Solution, Status
from optlayers.training import (
    AugmentedLagrangian,
    ConstraintWarning,
    Equality,
    ExponentiatedGradient,
    FrankWolfe,
    Inequality,
    InSet,
    Lagrangian,
    Monitor,
    Penalty,
    ScheduledSet,
    constrain,
    parametrize,
    plot_set,
    project_after_step,
)
from optlayers.warm_start import WarmStart, WarmStarts

__version__ = "0.1.0.dev0"

__all__ = [
    "AugmentedLagrangian",
    "Comparison",
    "ConstraintWarning",
    "Equality",
    "ExponentiatedGradient",
    "FeasibleSet",
    "FrankWolfe",
    "InSet",
    "Inequality",
    "InfeasibleError",
    "Lagrangian",
    "Monitor",
    "NotConvexError",
    "NotParametrizedError",
    "NotSolvedError",
    "Penalty",
    "ProjectionLayer",
    "ScheduledSet",
    "Solution",
    "Status",
    "WarmStart",
    "WarmStarts",
    "compare",
    "constrain",
    "parametrize",
    "plot_set",
    "project_after_step",
]
