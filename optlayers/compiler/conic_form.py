"""The conic form: what constraints are, once CVXPY's atoms are cones."""

from __future__ import annotations

from dataclasses import dataclass

from optlayers.compiler.affine_rows import AffineRows


@dataclass(frozen=True, eq=False)
class Cone:
    """A cone constraint ``rows in K``.

    Attributes
    ----------
    kind : str
        "soc", ``{(t, x) : ||x|| <= t}``; "psd", the lower triangle of a PSD matrix by columns, off-diagonal entries
        times sqrt(2); "exp", ``{(x, y, z) : y exp(x / y) <= z, y > 0}`` and its closure; "pow",
        ``{(x, y, z) : x^alpha y^(1 - alpha) >= |z|, x, y >= 0}``.
    rows : AffineRows
    alpha : float
        The exponent of a power cone.
    """

    kind: str
    rows: AffineRows
    alpha: float = 0.0


@dataclass(frozen=True, eq=False)
class ConicForm:
    """The set ``{y : A(p) y + b(p) in K}``; ``y`` is the user's variables, then auxiliary ones.

    Attributes
    ----------
    size : int
        The number of entries of the user's variables, the first entries of ``y``.
    equalities, inequalities : AffineRows
        Rows that are zero, rows that are nonnegative.
    cones : tuple of Cone
    labels : tuple of str
        Names of the user's constraints and of the variables' attributes, numbered by `AffineRows.sources`.
    origins : tuple of int
        For each label, the place of the constraint in the compiled list, or -1 for an attribute.
    """

    size: int
    equalities: AffineRows
    inequalities: AffineRows
    cones: tuple[Cone, ...]
    labels: tuple[str, ...]
    origins: tuple[int, ...]

    @property
    def rows(self) -> AffineRows:
        """All rows: equalities, inequalities, cones."""
        return AffineRows.concatenate([self.equalities, self.inequalities, *(cone.rows for cone in self.cones)])

    @property
    def auxiliary(self) -> int:
        """The number of auxiliary entries of ``y``."""
        return self.equalities.n - self.size
