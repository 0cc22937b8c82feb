"""Public laws: what a projection must satisfy, to test sets of your own with.

>>> from optlayers.sets.box import Box
>>> from optlayers.testing import check_set
>>> check_set(Box)  # doctest: +SKIP
"""

from optlayers.sets.base import ClosedFormSet
from optlayers.testing import derivative_laws, projection_laws, reference_laws, tensor_laws  # noqa: F401 adds laws
from optlayers.testing.cases import Case, cases
from optlayers.testing.general_sets import general_cases
from optlayers.testing.law import LAWS, laws_for
from optlayers.testing.oracle_laws import check_oracle, oracles_of

__all__ = ["LAWS", "Case", "cases", "check_set", "general_cases", "laws_for"]


def check_set(kind: type[ClosedFormSet]) -> None:
    """Check a closed-form set against every law, on each of its examples, with data as constants and as parameters.

    So are the oracles that have a formula for it, see `optlayers.oracles`.

    Parameters
    ----------
    kind : type
        The set, registered with `optlayers.sets.register`.

    Raises
    ------
    AssertionError
        Naming the law, the example and what was found.
    """
    for case in cases(kind):
        for name, law in laws_for(case).items():
            try:
                law(case)
            except Exception as error:
                raise AssertionError(f"{case.name} breaks the law {name}: {error}") from error
    for name in oracles_of(kind):
        check_oracle(kind, name)
