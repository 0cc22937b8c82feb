"""Assignments: which entry of each row, at most one a column, costs least together."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def cheapest_assignment(costs: Tensor) -> Tensor:
    """Return ``argmin_P <costs, P>`` over 0/1 matrices with as many ones as fit, at most one a row and a column.

    Costs are ``(*batch, m, n)``. By SciPy's shortest augmenting paths (Crouse, "On implementing 2D rectangular
    assignment algorithms", 2016).
    """
    plans = torch.zeros_like(costs)
    for plan, cost in zip(plans.flatten(0, -3), costs.flatten(0, -3).double().cpu().numpy(), strict=True):
        rows, columns = linear_sum_assignment(cost)
        plan[torch.as_tensor(rows), torch.as_tensor(columns)] = 1
    return plans
