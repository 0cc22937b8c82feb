"""Constraints in words, as short as messages need them."""

import re
from collections.abc import Sequence

import cvxpy as cp
from cvxpy.constraints.nonpos import Inequality
from cvxpy.constraints.zero import Equality

_LONGEST = 80  # characters of a constraint
_MOST = 10  # items of an enumeration
_ATOMS = {"PnormApprox": "pnorm", "Pnorm": "pnorm", "PowerApprox": "power", "GeoMeanApprox": "geo_mean"}


def describe(constraint: cp.Constraint, position: int) -> str:
    """Name a constraint for messages: its place in the user's list and what it says, the variable first."""
    if not isinstance(constraint, (Inequality, Equality)):
        return f"constraint {position} ({_shortened(_words(constraint), _LONGEST)})"
    left, right = constraint.args
    relation = "==" if isinstance(constraint, Equality) else "<="
    if left.is_constant() and not right.is_constant():
        left, right, relation = right, left, relation.replace("<", ">")
    left, right = _words(left), _words(right)
    room = _LONGEST - len(relation) - 2
    left_room = max(room - len(right), room // 2)
    right_room = max(room - len(left), room - left_room)
    return f"constraint {position} ({_shortened(left, left_room)} {relation} {_shortened(right, right_room)})"


def _words(expression: object) -> str:
    """Return CVXPY's text in one line, with its functions' public names, and whole numbers without fractions."""
    text = re.sub(r"\b[A-Z]\w+(?=\()", lambda name: _ATOMS.get(name[0], name[0]), " ".join(str(expression).split()))
    return re.sub(r"(?<![\w.])(\d+)\.0(?![\d\w])", r"\1", text)


def _shortened(text: str, length: int) -> str:
    """Leave out the middle of a text that is longer."""
    if len(text) <= length:
        return text
    tail = (length - 3) // 2
    return f"{text[: length - 3 - tail]}...{text[len(text) - tail :]}"


def some(items: Sequence[str], most: int = _MOST) -> list[str]:
    """Return the items, or if they are many the first ones and how many follow."""
    return list(items) if len(items) <= most else [*items[: most - 1], f"{len(items) - most + 1} more"]


def together(labels: Sequence[str]) -> str:
    """Enumerate constraints that cannot hold together."""
    *first, last = some(labels)
    return f"{', '.join(first)} and {last} together" if first else last
