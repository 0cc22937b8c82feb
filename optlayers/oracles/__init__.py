"""What sets offer besides their projection: importing the package registers the formulas of all sets."""

from optlayers.oracles import smooth_matrices, smooth_sections, smooth_vectors  # noqa: F401 they register
from optlayers.oracles.entropy_projection import entropy_projection
from optlayers.oracles.integer_points import nearest_integer_point
from optlayers.oracles.linear_minimisation import linear_minimum, minimise_linear
from optlayers.oracles.oracle import ORACLES, Oracle
from optlayers.oracles.smooth_maps import SmoothMap, register_smooth_map, smooth_map
from optlayers.oracles.weighted_projection import scaled_set

__all__ = [
    "ORACLES",
    "Oracle",
    "SmoothMap",
    "entropy_projection",
    "linear_minimum",
    "minimise_linear",
    "nearest_integer_point",
    "register_smooth_map",
    "scaled_set",
    "smooth_map",
]
