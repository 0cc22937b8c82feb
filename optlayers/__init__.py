"""optlayers: declare a convex set in CVXPY, get a PyTorch layer that returns the nearest feasible point."""

from optlayers.comparison import Comparison, compare
from optlayers.errors import InfeasibleError, NotConvexError, NotParametrizedError, NotSolvedError
from optlayers.feasible_set import FeasibleSet
from optlayers.layers import ProjectionLayer
from optlayers.solution import Solution, Status
from optlayers.warm_start import WarmStart, WarmStarts

__version__ = "0.1.0.dev0"

__all__ = [
    "Comparison",
    "FeasibleSet",
    "InfeasibleError",
    "NotConvexError",
    "NotParametrizedError",
    "NotSolvedError",
    "ProjectionLayer",
    "Solution",
    "Status",
    "WarmStart",
    "WarmStarts",
    "compare",
]
