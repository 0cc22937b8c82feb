"""What the general benchmark compares: optlayers and its peers, each a function from points to projections.

A baseline takes a problem and returns that function; one that is not installed is reported as such. Every peer has
the settings that served it best on these problems, accuracy first: their meaning is in the comments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cvxpy as cp
import torch
from exact import Polyhedron
from problems import Problem
from torch import Tensor

from optlayers import FeasibleSet

Project = Callable[[Tensor], Tensor]
Build = Callable[[Problem], Project]


@dataclass(frozen=True)
class Baseline:
    """A way to project.

    Attributes
    ----------
    name : str
    package : str
        What has to be installed.
    build : callable
        Takes a problem, returns the projection of points ``(batch, *shape)``.
    polyhedra_only : bool
        Whether it needs the set as a quadratic programme.
    """

    name: str
    package: str
    build: Build
    polyhedra_only: bool

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None


_TIGHT = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)  # for interior points
BASELINES: dict[str, Baseline] = {}


def baseline(name: str, package: str, polyhedra_only: bool = False) -> Callable[[Build], Build]:
    """Register a baseline under a name."""

    def register(build: Build) -> Build:
        BASELINES[name] = Baseline(name, package, build, polyhedra_only)
        return build

    return register


@baseline("optlayers", "optlayers")
def optlayers(problem: Problem) -> Project:
    return FeasibleSet(problem.constraints, problem.variable, method="general", on_failure="nan").project


def _cvxpylayer(problem: Problem, solver: str, arguments: dict[str, Any]) -> Project:
    # The distance as 1/2 ||x||^2 - <v, x>: with ||x - v||^2 CVXPY adds a variable for x - v, and Moreau takes ten times
    # as long. A problem of its own: cvxpylayers is wrong on a problem that another layer was made of.
    from cvxpylayers.torch.cvxpylayer import CvxpyLayer

    x, point = problem.variable, cp.Parameter(problem.variable.shape)
    objective = cp.Minimize(0.5 * cp.sum_squares(x) - cp.sum(cp.multiply(point, x)))
    program = cp.Problem(objective, problem.constraints)
    layer = CvxpyLayer(program, parameters=[point], variables=[x], solver=solver, solver_args=arguments)
    return lambda v: layer(v)[0]


@baseline("cvxpylayers, diffcp, default", "diffcp")
def diffcp_default(problem: Problem) -> Project:
    return _cvxpylayer(problem, "DIFFCP", {"n_jobs_forward": torch.get_num_threads()})


@baseline("cvxpylayers, diffcp, Clarabel", "diffcp")
def diffcp_clarabel(problem: Problem) -> Project:
    arguments = {"solve_method": "Clarabel", "n_jobs_forward": torch.get_num_threads(), **_TIGHT}
    return _cvxpylayer(problem, "DIFFCP", arguments)


@baseline("cvxpylayers, Moreau", "moreau")
def moreau(problem: Problem) -> Project:
    # Its active-set method (no cones) is exact without auxiliary variables, else worse than interior points; left to
    # choose, Moreau takes it for semidefinite cones too, and fails.
    if problem.polyhedron is not None:
        settings = import_module("moreau").ActiveSetSettings(primal_tol=1e-10)
        return _cvxpylayer(problem, "MOREAU", {"solver": "active_set", "active_set_settings": settings})
    return _cvxpylayer(problem, "MOREAU", {"solver": "ipm", "ipm_settings": _TIGHT})


def _tensors(problem: Problem) -> tuple[Polyhedron, list[Tensor]]:
    rows = problem.polyhedron
    if rows is None:
        raise ValueError("not a polyhedron")
    return rows, [torch.from_numpy(matrix) for matrix in (rows.A, rows.b, rows.G, rows.h)]


@baseline("QPLayer (ProxSuite)", "proxsuite", polyhedra_only=True)
def qplayer(problem: Problem) -> Project:
    # eps is absolute: 1e-9 errs by 6e-11 of the data, 1e-11 by 4e-13, in the same time. The default backward tolerances
    # (1e-4, 1e-6, 1e-6) leave 3e-6 in the gradient, these 3e-10; with 400 rows 1e-3 is left by all of them.
    function = import_module("proxsuite.torch.qplayer").QPFunction
    solve = function(eps=1e-11, maxIter=10_000, eps_backward=1e-9, rho_backward=1e-10, mu_backward=1e-10)
    rows, (A, b, G, h) = _tensors(problem)
    identity, below = torch.eye(rows.A.shape[1], dtype=A.dtype), torch.full_like(h, -1e20)
    return lambda v: solve(identity, -v, A, b, G, below, h)[0]


@baseline("qpth", "qpth", polyhedra_only=True)
def qpth(problem: Problem) -> Project:
    function = import_module("qpth.qp").QPFunction
    solve = function(eps=1e-12, verbose=-1, maxIter=40, check_Q_spd=False)
    rows, (A, b, G, h) = _tensors(problem)
    identity = torch.eye(rows.A.shape[1], dtype=A.dtype)
    return lambda v: solve(identity, -v, G, h, A, b)
