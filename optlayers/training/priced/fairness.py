"""Statistics of predictions as constraints: the rates at which groups are given the positive decision."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from optlayers.declaration.declaration import check_choice
from optlayers.training.schedules.arguments import check_count, check_number

Criterion = Literal["demographic_parity", "equal_opportunity", "equalised_odds"]
Surrogate = Literal["sigmoid", "hinge"]
Empty = Literal["raise", "skip"]

CONDITIONS: dict[str, tuple[int | None, ...]] = {
    "demographic_parity": (None,),
    "equal_opportunity": (1,),
    "equalised_odds": (0, 1),
}


@dataclass(frozen=True)
class FairnessConstraint:
    """``|rate_g - rate| <= tolerance`` for each group `g`, where a rate is the share of scores above a threshold.

    Rates are over all samples (demographic parity), over those with label 1 (equal opportunity), or over those of each
    label (equalised odds), in the group and in all groups together. Two groups then differ by at most twice the
    tolerance. `value` gives the true rates, for multipliers; `proxy` gives a differentiable surrogate, for the
    gradient (Cotter et al., "Optimization with non-differentiable constraints with applications to fairness, recall,
    churn, and other goals", 2019).

    Parameters
    ----------
    criterion : {"demographic_parity", "equal_opportunity", "equalised_odds"}
    groups : int
        How many there are; at least two.
    tolerance : float
    threshold : float
        Above it the decision is positive: 0 for logits, 0.5 for probabilities.
    surrogate : {"sigmoid", "hinge"}
        "sigmoid" smooths each decision; "hinge" bounds the left-hand sides from above by convex functions of the
        scores.
    temperature : float
        The scale of scores over which a decision is smoothed; smaller is closer to the true rates.
    empty : {"raise", "skip"}
        What a batch without samples of some group and label does: raise, or give 0 for that group, which moves no
        multiplier and has no gradient.
    """

    criterion: Criterion
    groups: int = 2
    tolerance: float = 0.0
    threshold: float = 0.0
    surrogate: Surrogate = "sigmoid"
    temperature: float = 1.0
    empty: Empty = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("criterion", self.criterion, Criterion)
        check_choice("surrogate", self.surrogate, Surrogate)
        check_choice("empty", self.empty, Empty)
        check_count("groups", self.groups, least=2)
        check_number("tolerance", self.tolerance, least=0.0)
        check_number("threshold", self.threshold)
        check_number("temperature", self.temperature, above=0.0)

    @property
    def size(self) -> int:
        """The number of constraints: two for each group and condition."""
        return 2 * self.groups * len(CONDITIONS[self.criterion])

    @torch.no_grad()
    def value(self, scores: Tensor, groups: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the true left-hand sides ``(size,)``, feasible where at most 0.

        For each condition they are ``rate_g - rate - tolerance`` of all groups, then ``rate - rate_g - tolerance``.
        Scores, groups (integers from 0 to ``groups - 1``) and labels (0 or 1; demographic parity needs none) are
        ``(n,)``. Raises ValueError if they do not fit, or a group has no samples and ``empty="raise"``.
        """
        decisions = (scores > self.threshold).to(scores.dtype)
        return self._sides(decisions, decisions, groups, labels)

    def proxy(self, scores: Tensor, groups: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return differentiable left-hand sides; arguments, shape and errors as for `value`."""
        z = (scores - self.threshold) / self.temperature
        if self.surrogate == "sigmoid":
            decisions = z.sigmoid()
            return self._sides(decisions, decisions, groups, labels)
        return self._sides((1 + z).clamp_min(0.0), z.clamp_max(1.0), groups, labels)

    @torch.no_grad()
    def rates(self, scores: Tensor, groups: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the true rates, ``(conditions, groups)``; NaN for groups without samples."""
        decisions = (scores > self.threshold).to(scores.dtype)
        members = self._members(decisions, groups, labels)
        return members @ decisions / members.sum(-1)

    def gap(self, scores: Tensor, groups: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the largest difference between the true rates of two groups, a scalar."""
        rates = self.rates(scores, groups, labels)
        return (rates.nan_to_num(nan=-torch.inf).amax(-1) - rates.nan_to_num(nan=torch.inf).amin(-1)).max()

    def _members(self, scores: Tensor, groups: Tensor, labels: Tensor | None) -> Tensor:
        """Return, for each condition, who is in which group, ``(conditions, groups, n)``."""
        labels = check(self.criterion, scores, groups, labels)
        if groups.numel() and not 0 <= int(groups.min()) <= int(groups.max()) < self.groups:
            raise ValueError(
                f"expected groups from 0 to {self.groups - 1}, got {int(groups.min())} to {int(groups.max())}"
            )
        member = groups == torch.arange(self.groups, device=groups.device).unsqueeze(-1)
        members = [member & among(labels, condition) for condition in CONDITIONS[self.criterion]]
        return torch.stack(members).to(scores.dtype)

    def _sides(self, over: Tensor, under: Tensor, groups: Tensor, labels: Tensor | None) -> Tensor:
        """Return the left-hand sides, with decisions rounded up where they count as too many, down as too few."""
        members = self._members(over, groups, labels)
        count = members.sum(-1)
        for condition, present in zip(CONDITIONS[self.criterion], count > 0, strict=True):
            if self.empty == "raise" and not bool(present.all()):
                raise ValueError(missing((~present).nonzero().flatten().tolist(), condition))
        total = count.sum(-1, keepdim=True).clamp_min(1.0)
        high, low = (members @ decisions / count.clamp_min(1.0) for decisions in (over, under))
        all_high, all_low = (members.sum(1, keepdim=True) @ decisions / total for decisions in (over, under))
        sides = torch.stack([high - all_low, all_high - low], 1) - self.tolerance
        return torch.where(count.unsqueeze(1) > 0, sides, 0.0).flatten()


def among(labels: Tensor, condition: int | None) -> Tensor:
    """Return which samples have the label of a condition."""
    return torch.ones_like(labels, dtype=torch.bool) if condition is None else labels == condition


def missing(groups: list[int], condition: int | None) -> str:
    """Say that groups have no samples."""
    names = ", ".join(map(str, groups))
    what = "no samples" if condition is None else f"no samples with label {condition}"
    return (
        f"{what} in group {names}, so the rate there is not defined: use larger or stratified batches, leave the group "
        'out, or pass empty="skip" where the constraint takes it'
    )


def check(criterion: Criterion, scores: Tensor, groups: Tensor, labels: Tensor | None) -> Tensor:
    """Return the labels, zeros where none are needed; raise ValueError unless the arguments fit each other."""
    if scores.dim() != 1 or not scores.is_floating_point():
        raise ValueError(f"expected floating-point scores (n,), got {scores.dtype} {tuple(scores.shape)}: squeeze them")
    if groups.shape != scores.shape or groups.is_floating_point():
        raise ValueError(f"expected integer groups {tuple(scores.shape)}, got {groups.dtype} {tuple(groups.shape)}")
    if CONDITIONS[criterion] == (None,):
        return torch.zeros_like(groups)
    if labels is None or labels.shape != scores.shape:
        arrived = "none" if labels is None else str(tuple(labels.shape))
        raise ValueError(f"{criterion} needs labels {tuple(scores.shape)}, got {arrived}")
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise ValueError("expected labels 0 and 1")
    return labels
