"""optlayers: declare a convex set in CVXPY, get a PyTorch layer that returns the nearest feasible point.

What training needs besides, and what its classes take, is in `optlayers.training`; how to write a set of one's own in
`optlayers.sets`, and its tests in `optlayers.testing`.
"""

from optlayers.bound_set import BoundSet
from optlayers.comparison import compare
from optlayers.errors import InfeasibleError, NotConvexError, NotParametrizedError, NotSolvedError
from optlayers.feasible_set import FeasibleSet
from optlayers.layer import ProjectionLayer
from optlayers.solution import Solution, Status
from optlayers.training import (
    AugmentedLagrangian,
    Lagrangian,
    Monitor,
    Penalty,
    ScheduledSet,
    constrain,
    parametrize,
    project_after_step,
)
from optlayers.warm_start import WarmStart, WarmStarts

__version__ = "0.1.0.dev0"

__all__ = [
    "AugmentedLagrangian",
    "BoundSet",
    "FeasibleSet",
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
    "project_after_step",
]
