"""Integer and boolean constraints: project onto the relaxed set, round to a feasible point, straight through."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor, nn

from optlayers.bound_set import BoundSet
from optlayers.declaration.parameter_values import name_rows
from optlayers.errors import InfeasibleError, NotSolvedError
from optlayers.feasible_set import FeasibleSet, Method
from optlayers.oracles.integer_points import nearest_integer_point
from optlayers.oracles.program import IntegerProgram
from optlayers.solvers.conic_program import largest
from optlayers.training.discrete.relaxation import Relaxation
from optlayers.training.schedules.arguments import check_number


class DiscreteLayer(nn.Module):
    """A layer that returns feasible integer points, with the gradient of the projection onto the relaxed set.

    What comes back is feasible, to `tolerance`, with entries that are integers where they are declared so; or an error
    is raised which names the samples. It is the feasible integer point nearest to the input

    - where every block of the relaxed set is a box, a box with bounds on the sum of the entries (cardinalities, one
      choice of many, shares of an integer total), or an assignment, and all its entries are integer: by formulas;
    - where the rounded input is feasible;
    - where all variables are boolean and ``nearest=True``, up to the accuracy of the solver (for HiGHS, ties within
      1e-6 of the largest entry): by one mixed-integer linear program per sample.

    Otherwise it is the rounded projection onto the relaxed set, where that is feasible and ``nearest=False``; else the
    feasible point that minimises the sum of absolute differences (L1) to that projection, or, where all variables are
    boolean, the Euclidean distance to the input. These programs run on the CPU one by one, and may take long: their
    worst case is exponential. HiGHS takes linear constraints only.

    The gradient, to points and parameters, is that of the projection onto the relaxed set, which is biased: the values
    are constant wherever they do not jump. The layer is for eager mode, without `torch.compile`.

    Parameters
    ----------
    constraints, variables, parameters
        As for `FeasibleSet`, with `integer` and `boolean` variables. Other variables may be discrete, too; the programs
        are then needed for every sample.
    nearest : bool
        Whether to leave out the rounded projection, which is fast but not always nearest.
    method : str
        Of the relaxed set, see `FeasibleSet`.
    tolerance : float
        The largest violation of a feasible point, absolute.
    solver, solver_options
        For `cvxpy.Problem.solve`; the default is HiGHS, with a relative gap of zero.

    Examples
    --------
    >>> import cvxpy as cp, torch
    >>> from optlayers.training.discrete.discrete import DiscreteLayer
    >>> x = cp.Variable(4, boolean=True)
    >>> layer = DiscreteLayer([cp.sum(x) == 2])
    >>> layer(torch.tensor([0.1, 0.9, 0.3, 0.2]))
    tensor([0., 1., 1., 0.])
    """

    def __init__(
        self,
        constraints: Sequence[cp.Constraint | bool] | cp.Constraint,
        variables: cp.Variable | Sequence[cp.Variable] | None = None,
        parameters: cp.Parameter | Sequence[cp.Parameter] | None = None,
        *,
        nearest: bool = False,
        method: Method = "auto",
        tolerance: float = 1e-6,
        solver: str | None = None,
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_number("tolerance", tolerance, least=0.0, below=0.5)
        self.relaxation = Relaxation(constraints, variables, parameters, method=method)
        self.nearest, self.tolerance = nearest, tolerance
        self.program = IntegerProgram(
            self.relaxation.constraints,
            self.relaxation.variables,
            self.relaxed_set.parameters,
            all_boolean=bool(self.relaxation.boolean.all()),
            solver=solver,
            options=solver_options,
        )

    @property
    def relaxed_set(self) -> FeasibleSet:
        """The set without the demand for integers, which the gradient comes from."""
        return self.relaxation.feasible_set

    def forward(self, /, *inputs: Tensor, **parameters: Any) -> Any:
        """Return a feasible integer point for each sample.

        Inputs are those of a `ProjectionLayer`: one point ``(*batch, *variable.shape)`` per variable, then parameter
        values ``(*batch, *parameter.shape)`` in order or by name. Results, one tensor or a tuple, have the shape, dtype
        and device of the points, which are of floating-point numbers.

        Raises
        ------
        InfeasibleError
            If the set has no integer point for some sample.
        NotSolvedError
            If the solver stops early, or does not take such constraints.
        ValueError
            As `FeasibleSet.project`.
        """
        points, relaxed_set = self.relaxed_set.bind_inputs(inputs, parameters)
        relaxed = relaxed_set.project(*points)
        relaxed = relaxed if isinstance(relaxed, tuple) else (relaxed,)
        y, bound = relaxed_set.prepare(*(point.double() for point in relaxed))
        with torch.no_grad():
            v, _ = relaxed_set.prepare(*(point.double() for point in points))
            x = self._round(bound, v.expand_as(y), y)
        return relaxed_set.unflatten(x + (y - y.detach()), relaxed)  # y - y is zero

    def _round(self, bound: BoundSet, v: Tensor, y: Tensor) -> Tensor:
        """Return a feasible integer point for inputs and their projections, ``(*batch, n)``."""
        x, missing = y.clone(), torch.ones(y.shape[:-1], dtype=torch.bool, device=y.device)
        for candidate in self._candidates(bound, v, y):
            taken = missing & (largest(bound.residual(candidate)) <= self.tolerance)
            x = torch.where(taken.unsqueeze(-1), candidate, x)
            missing = missing & ~taken
            if not bool(missing.any()):
                return x
        x[missing] = self._solve(bound, v, y, missing)
        wrong = missing & (largest(bound.residual(x)) > 2 * self.tolerance)
        if bool(wrong.any()):
            raise NotSolvedError(
                f"The point of {self.program.solver} violates the constraints by more than 2 * {self.tolerance:g} "
                f"for {name_rows(wrong)}: scale the constraints, or raise the tolerance.",
                wrong.flatten().nonzero().flatten().tolist(),
            )
        return x

    def _candidates(self, bound: BoundSet, v: Tensor, y: Tensor) -> Iterator[Tensor]:
        """Yield integer points that may be feasible; the best come first."""
        discrete = torch.as_tensor(self.relaxation.discrete, device=v.device)
        if self.relaxation.has_discrete_auxiliaries:
            return
        nearest = bound.map_pieces(nearest_integer_point, v) if bool(discrete.all()) else None
        if nearest is not None:
            yield nearest.expand(y.shape)
        yield torch.where(discrete, v.round(), v)
        if not self.nearest:
            yield torch.where(discrete, y.round(), y)

    def _solve(self, bound: BoundSet, v: Tensor, y: Tensor, missing: Tensor) -> Tensor:
        """Return the points of the program for some samples, ``(k, n)``."""
        values = [t.expand(*missing.shape, t.shape[-1])[missing] for t in bound.values.tensors]
        x, is_empty = self.program.nearest(v[missing], y[missing], values)
        if bool(is_empty.any()):
            labels = tuple(str(c) for c in self.relaxation.constraints)
            empty = missing.masked_scatter(missing, is_empty)
            raise InfeasibleError(
                f"No integer point satisfies all constraints for {name_rows(empty)}, though the relaxed set is not "
                f"empty: {'; '.join(labels)}.",
                labels,
                empty.flatten().nonzero().flatten().tolist(),
            )
        return torch.where(torch.as_tensor(self.relaxation.discrete, device=x.device), x.round(), x)

    def extra_repr(self) -> str:
        names = ", ".join(f"{v.name()} {tuple(v.shape)}" for v in self.relaxation.variables)
        return f"{names}: integer points of {self.relaxed_set!r}, nearest={self.nearest}"
