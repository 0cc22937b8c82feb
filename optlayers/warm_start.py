"""Solutions kept for the items of a dataset, to start from in the next epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
        place = torch.as_tensor(index)
        if solution.status.shape != place.shape:
            raise ValueError(
                f"got solutions of batch dimensions {tuple(solution.status.shape)} for an index of shape "
                f"{tuple(place.shape)}: expected one solution per item"
            )
        own = [t.detach() for t in solution.state]
        if not own:  # closed forms, or no valid sample
            return
        if self._state is None:
            self._state = tuple(t.new_full((self.size, *t.shape[place.ndim :]), torch.nan) for t in own)
        stored, given = ([tuple(t.shape[-2:]) for t in state] for state in (self._state, own))
        if stored != given:
            raise ValueError(
                f"the solutions are of another set: for each item their state has the shapes {given}, that of the "
                f"solutions kept before {stored}; keep a WarmStarts for each set"
            )
        keep = solution.solved
        for stored, new in zip(self._state, own, strict=True):
            solved = keep.to(stored.device)
            stored[place.to(stored.device)[solved]] = new[solved]
