"""The conic form: what constraints are, once CVXPY's atoms are cones."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from optlayers.compiler.affine_rows import AffineRows


@dataclass(frozen=True, eq=False)
class Cone:
    """A cone constraint ``rows in K``.

    Kinds are "soc", ``{(t, x) : ||x|| <= t}``; "psd", the lower triangle of a PSD matrix by columns, off-diagonal
    entries times sqrt(2); "exp", ``{(x, y, z) : y exp(x / y) <= z, y > 0}`` and its closure; "pow", ``{(x, y, z) :
    x^alpha y^(1 - alpha) >= |z|, x, y >= 0}``.
    """

    kind: str
    rows: AffineRows
    alpha: float = 0.0  # the exponent of a power cone


@dataclass(frozen=True, eq=False)
class ConicForm:
    """The set ``{y : A(p) y + b(p) in K}``; ``y`` is the user's variables, then auxiliary ones."""

    size: int  # the number of entries of the user's variables, the first entries of ``y``
    equalities: AffineRows  # rows that are zero
    inequalities: AffineRows  # rows that are nonnegative
    cones: tuple[Cone, ...]
    labels: tuple[str, ...]  # names of constraints and of variables' attributes, numbered by `AffineRows.sources`
    origins: tuple[int, ...]  # for each label, the place of the constraint in the compiled list, or -1 for an attribute

    @property
    def rows(self) -> AffineRows:
        """All rows: equalities, inequalities, cones."""
        return AffineRows.concatenate([self.equalities, self.inequalities, *(cone.rows for cone in self.cones)])

    @property
    def auxiliary(self) -> int:
        """The number of auxiliary entries of ``y``."""
        return self.equalities.n - self.size

    def map(self, function: Callable[[AffineRows], AffineRows]) -> "ConicForm":
        """Return the form with a function of its rows, part by part."""
        cones = tuple(replace(cone, rows=function(cone.rows)) for cone in self.cones)
        return replace(
            self, equalities=function(self.equalities), inequalities=function(self.inequalities), cones=cones
        )
