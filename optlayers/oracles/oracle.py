"""What sets offer besides their projection: one registry, and one rule, for all of it.

An oracle is a question to which some kinds of sets have a formula: the minimum of a linear function, the nearest
integer point, ... Each is one file in this folder, with the formulas of all sets in `optlayers.sets`; any other set
registers its own in its own file, by the same decorator:

    @linear_minimum.register(Lens)
    def _(lens: Lens, g: Tensor) -> Tensor | None: ...
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from optlayers.bound_set import BoundSet
from optlayers.feasible_set import FeasibleSet
from optlayers.projection.ties import Tied
from optlayers.sets.base import ClosedFormSet

ORACLES: "dict[str, Oracle]" = {}

_F = TypeVar("_F", bound="Callable[..., Any]")


class Oracle:
    """A question to bound sets, with a formula for each kind of set that has one.

    A formula takes the bound set, whose fields are tensors ``(*batch, blocks, ...)``, and what is asked. It returns
    None where it does not serve these data. The formulas of a set's class are asked first, then those of its bases; of
    several for one class, that registered last comes first.

    Parameters
    ----------
    name : str
        What it is, for messages: "linear minimisation over".
    otherwise : str
        What users can do with a set that has no formula.
    is_isometric : bool
        Whether isometries commute with it, so that the formulas serve sets with tied entries.
    """

    def __init__(self, name: str, otherwise: str = "", *, is_isometric: bool = False) -> None:
        self.name, self.otherwise, self.is_isometric = name, otherwise, is_isometric
        self._formulas: dict[type, list[Callable[..., Any]]] = {}
        ORACLES[name] = self

    @property
    def kinds(self) -> tuple[type[ClosedFormSet], ...]:
        """The kinds of sets with a formula."""
        return tuple(self._formulas)

    def register(self, *kinds: type[ClosedFormSet]) -> Callable[[_F], _F]:
        """Register a formula for kinds of sets: a decorator."""
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, ClosedFormSet)):
                raise ValueError(f"expected a class of closed-form sets (optlayers.sets), got {kind!r}")

        def add(formula: _F) -> _F:
            for kind in kinds:
                self._formulas.setdefault(kind, []).insert(0, formula)
            return formula

        return add

    def unregister(self, kind: type[ClosedFormSet]) -> None:
        """Remove the formulas of a kind of set."""
        del self._formulas[kind]

    def __call__(self, bound: ClosedFormSet | Tied, *asked: Tensor) -> Any:
        """Return the first answer there is, or None."""
        return through_ties(self._answer, bound, *asked) if self.is_isometric else self._answer(bound, *asked)

    def _answer(self, bound: ClosedFormSet | Tied, *asked: Tensor) -> Any:
        formulas = (formula for kind in type(bound).__mro__ for formula in self._formulas.get(kind, ()))
        answers = (formula(bound, *asked) for formula in formulas)
        return next((answer for answer in answers if answer is not None), None)

    def refusal(self, bound: BoundSet, *asked: Tensor) -> ValueError:
        """Return the error that names the pieces without answer, the sets with a formula, and what to do."""
        lacking = [f"a set of {block.summary()}" for piece in bound.compiled.general for block in piece.blocks]
        parts = zip(bound.compiled.pieces, bound.sets, *(bound.split(vector) for vector in asked), strict=False)
        for piece, closed_form, *vectors in parts:
            lacking += sorted(set(piece.labels)) if self(closed_form, *vectors) is None else []
        known = ", ".join(sorted(kind.name for kind in self.kinds))
        return ValueError(f"no {self.name} {', '.join(lacking)}; there is one for {known}. {self.otherwise}")


Default = Callable[[Tensor, BoundSet], Tensor]


def ask(oracle: Oracle, feasible_set: FeasibleSet, point: Tensor, default: Default | None = None) -> Tensor:
    """Return the answer of a whole set on one variable: those of its pieces, side by side.

    Where some piece has none, it is the default's, of the flat point and the bound set.

    Raises
    ------
    ValueError
        If some piece has no answer, and there is no default, or the point is not finite.
    InfeasibleError
        If the set is empty for some sample.
    """
    v, bound = feasible_set.prepare(point)
    if not bound.is_sound(v):
        feasible_set.project(point)  # says what is wrong
        raise ValueError(f"{oracle.name} sets: expected finite numbers, and sets that are not empty")
    v = v.expand(*torch.broadcast_shapes(*(t.shape[:-1] for t in (v, *bound.values.tensors))), v.shape[-1])
    answer = bound.map_pieces(oracle, v)
    if answer is None:
        if default is None:
            raise oracle.refusal(bound, v)
        answer = default(v, bound)
    return feasible_set.unflatten(answer, (point,))  # pyright: ignore[reportReturnType] of one variable


def through_ties(function: Callable[..., Any], bound: ClosedFormSet | Tied, *vectors: Tensor) -> Any:
    """Apply a function that isometries commute with, in the coordinates in which tied entries are one."""
    if not isinstance(bound, Tied):
        return function(bound, *vectors)
    answer = function(bound.inner, *(vector @ bound.matrix for vector in vectors))
    return answer @ bound.matrix.mT if isinstance(answer, Tensor) else answer
