"""optlayers: declare a convex set in CVXPY, get a PyTorch layer that returns the nearest feasible point."""

from optlayers.comparison import Comparison, compare
from optlayers.errors import InfeasibleError, NotConvexError, NotParametrizedError
from optlayers.feasible_set import FeasibleSet
from optlayers.layers import ProjectionLayer
from optlayers.solution import Solution, Status

__version__ = "0.1.0.dev0"

__all__ = [
    "Comparison",
    "FeasibleSet",
    "InfeasibleError",
    "NotConvexError",
    "NotParametrizedError",
    "ProjectionLayer",
    "Solution",
    "Status",
    "compare",
]
