"""The errors of the library; each message says what arrived, what was expected and what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class NotConvexError(ValueError):
    """A constraint breaks CVXPY's disciplined convex programming rules, or is not a convex constraint at all."""


class NotParametrizedError(ValueError):
    """A constraint is convex, but not disciplined (DPP) in its parameters."""


class InfeasibleError(ValueError):
    """The set is empty: no point satisfies all constraints.

    Attributes
    ----------
    constraints : tuple of str
        The constraints that cannot hold together.
    rows : tuple of int
        The samples at fault, as indices into the flattened batch; empty where the set is empty for every
        parameter value.
    """

    def __init__(self, message: str, constraints: Sequence[str] = (), rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.constraints = tuple(constraints)
        self.rows = tuple(rows)

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...], tuple[int, ...]]]:
        """Keep the attributes through pickling (data loaders and process pools send errors that way)."""
        return type(self), (str(self), self.constraints, self.rows)


class NotSolvedError(RuntimeError):
    """The general solver neither reached its accuracy nor found the set to be empty.

    Attributes
    ----------
    rows : tuple of int
        The samples at fault, as indices into the flattened batch.
    residuals : tuple of float
        The relative KKT residual of each.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), residuals: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.rows, self.residuals = tuple(rows), tuple(residuals)

    def __reduce__(self) -> tuple[type, tuple[str, tuple[int, ...], tuple[float, ...]]]:
        """Keep the attributes through pickling."""
        return type(self), (str(self), self.rows, self.residuals)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say how to install the packages of an optional extra, where importing them fails."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{error}: pip install "optlayers[{name}]"') from error
