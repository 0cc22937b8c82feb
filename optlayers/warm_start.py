"""Solutions kept for the items of a dataset, to start from in the next epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optlayers.bound_set import BoundSet
from optlayers.solution import Solution


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What the general solver starts from: its duals and points for nearby points and parameters.

    Attributes
    ----------
    state : tuple of Tensor
        One per part of the set that runs on the general solver, with the batch dimensions first; NaN for samples
        about which nothing is known.
    """

    state: tuple[Tensor, ...]


def starting_state(warm_start: Solution | WarmStart | None, v: Tensor, bound: BoundSet) -> list[Tensor] | None:
    """Return the state to start from, for points ``(*batch, n)``; raise ValueError if it is of another batch."""
    if warm_start is None or not warm_start.state or bound.is_closed_form:
        return None
    batch = torch.broadcast_shapes(v.shape[:-1], *(t.shape[:-1] for t in bound.values.tensors))
    expected = [(*batch, *piece.state_shape) for piece in bound.compiled.general]
    arrived = [tuple(t.shape) for t in warm_start.state]
    if arrived != expected:
        raise ValueError(
            f"warm_start is not of a batch {tuple(batch)} of this set: its state has the shapes {arrived}, expected "
            f"{expected}; pass a Solution of this set, of as many samples, or None"
        )
    return [t.detach().to(v.device) for t in warm_start.state] if expected[0][-1] else None


class WarmStarts:
    """The last solution of each item of a dataset.

    Parameters
    ----------
    size : int
        The number of items.

    Examples
    --------
    >>> starts = WarmStarts(len(dataset))  # doctest: +SKIP
    >>> for index, v in loader:  # doctest: +SKIP
    ...     solution = layer.solve(v, warm_start=starts[index])
    ...     starts[index] = solution
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._state: tuple[Tensor, ...] | None = None

    def __getitem__(self, index: Tensor | Sequence[int]) -> WarmStart | None:
        """Return what is known of some items, in the shape of `index`; None where no item has been stored yet."""
        if self._state is None:
            return None
        return WarmStart(tuple(t[torch.as_tensor(index, device=t.device)] for t in self._state))

    def __setitem__(self, index: Tensor | Sequence[int], solution: Solution) -> None:
        """Keep the solutions of some items; samples that were not solved are not kept.

        Raises
        ------
        ValueError
            If the solution's batch dimensions are not the shape of `index`.
        """
        items = torch.as_tensor(index)
        if solution.status.shape != items.shape:
            raise ValueError(
                f"got solutions of batch dimensions {tuple(solution.status.shape)} for an index of shape "
                f"{tuple(items.shape)}: expected one solution per item"
            )
        state = [t.detach() for t in solution.state]
        if not state:  # closed forms, or no valid sample
            return
        if self._state is None:
            self._state = tuple(t.new_full((self.size, *t.shape[items.ndim :]), torch.nan) for t in state)
        stored, given = ([tuple(t.shape[-2:]) for t in tensors] for tensors in (self._state, state))
        if stored != given:
            raise ValueError(
                f"the solutions are of another set: for each item their state has the shapes {given}, that of the "
                f"solutions kept before {stored}; keep a WarmStarts for each set"
            )
        keep = solution.solved
        for stored, new in zip(self._state, state, strict=True):
            solved = keep.to(stored.device)
            stored[items.to(stored.device)[solved]] = new[solved]
