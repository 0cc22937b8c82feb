"""A polyhedron and a cut ball with parameters, for the general solver."""

import cvxpy as cp
import numpy as np
import torch

from optlayers import ProjectionLayer

MATRIX = np.array([[1.0, 0.4, -1.0, 2.2], [-1.0, 1.0, 0.2, -0.1], [0.1, 1.5, 0.8, 0.1]])


def number(*values):
    return torch.tensor(values, dtype=torch.float64)


def budget(**options):
    """A set of four entries with a matrix, limits and a total; rows that do not matter are there too."""
    x = cp.Variable(4, name="x")
    limits, total = cp.Parameter(3, name="limits"), cp.Parameter(name="total")
    constraints = [x >= 0, MATRIX @ x <= limits, cp.sum(x) == total, x[0] - x[1] <= 50]
    return ProjectionLayer(constraints, x, [limits, total], **options)


def cut_ball(**options):
    """The part of a ball on one side of a plane."""
    x, radius = cp.Variable(4, name="x"), cp.Parameter(name="radius")
    return ProjectionLayer([cp.norm(x) <= radius, x[0] + x[1] >= 1, x[2] <= 5], x, [radius], **options)


LIMITS = number(1.0, 0.5, 1.2)
EXAMPLES = {"polyhedron": lambda: (budget(), (LIMITS, number(1.0)[0])), "cone": lambda: (cut_ball(), (number(1.2)[0],))}
