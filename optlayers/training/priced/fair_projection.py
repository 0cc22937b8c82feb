"""Fair scores after training: the nearest scores whose group means differ by at most a tolerance."""

import itertools

import cvxpy as cp
import torch
from torch import Tensor

from optlayers.declaration.declaration import check_choice
from optlayers.feasible_set import FeasibleSet
from optlayers.training.priced.fairness import CONDITIONS, Criterion, among, check, missing
from optlayers.training.schedules.arguments import check_number


class FairProjection:
    """``argmin_y ||y - scores||``, ``y`` in the bounds and ``|mean_g(y) - mean_h(y)| <= tolerance`` for all groups.

    The means are over all samples of a group (demographic parity), those with label 1 (equal opportunity), or those of
    each label (equalised odds). If the positive decision is then drawn with the score as its probability, its rates
    differ by at most the tolerance, exactly. Without bounds at work, projecting shifts each group by a constant, so
    that thresholding the projected scores is a threshold for each group.

    Parameters
    ----------
    groups : Tensor of int, shape (n,)
        Of the samples whose scores will be projected, together.
    labels : Tensor, shape (n,), optional
        0 or 1; for demographic parity there is no need of them.
    tolerance : float
    criterion : {"demographic_parity", "equal_opportunity", "equalised_odds"}
    bounds : (float, float)
        Of the scores.

    Raises
    ------
    ValueError
        If arguments do not fit, there is only one group, or a group has no samples.
    """

    def __init__(
        self,
        groups: Tensor,
        labels: Tensor | None = None,
        *,
        tolerance: float = 0.0,
        criterion: Criterion = "demographic_parity",
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        check_choice("criterion", criterion, Criterion)
        check_number("tolerance", tolerance, least=0.0)
        if not bounds[0] < bounds[1]:
            raise ValueError(f"bounds: expected increasing bounds, got {bounds}")
        known = check(criterion, torch.zeros(groups.shape, device=groups.device), groups, labels)
        names = groups.unique().tolist()
        if len(names) < 2:
            raise ValueError(f"expected two groups or more, got {names}: there is nothing to compare")
        y = cp.Variable(len(groups), name="scores", bounds=list(bounds))
        constraints: list[cp.Constraint] = []
        for condition in CONDITIONS[criterion]:
            members = [((groups == name) & among(known, condition)).cpu().numpy() for name in names]
            empty = [name for name, member in zip(names, members, strict=True) if not member.any()]
            if empty:
                raise ValueError(missing(empty, condition))
            for one, other in itertools.combinations([member / member.sum() for member in members], 2):
                difference = (one - other) @ y
                constraints += [difference == 0] if tolerance == 0 else [cp.abs(difference) <= tolerance]
        self.feasible_set = FeasibleSet(constraints, y)

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the nearest fair scores, ``(*batch, n)``; differentiable."""
        return self.feasible_set.project(scores)
