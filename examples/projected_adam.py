"""When the metric of the projection, and momentum, matter: `python examples/projected_adam.py`.

Two problems with a known optimum (CVXPY with Clarabel), each trained with and without the two options of
`project_after_step`:

- Regression with weights on a simplex, its columns of very different sizes. Adam scales each entry's step; a Euclidean
  projection of such a step mixes entries of different scales, and stays away from the optimum however small the steps
  become. In Adam's own metric it arrives; clearing the momentum helps, but not as far.
- A target that turns: weights in a box are pushed out of it for 300 steps, then the gradient changes sign. What
  momentum has piled up at the bound keeps them there, unless it is cleared.

Printed: the loss above the optimum, and the steps until weights leave the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import nn

from optlayers.training.projected.project_after_step import project_after_step

STEPS, PUSH = 1500, 300


def simplex_regression(options: dict[str, Any], start: float) -> float:
    """Return the excess of the loss over the optimum, with Adam and a rate that decays from `start` to nearly zero."""
    generator = np.random.default_rng(1)
    a = generator.normal(size=(50, 12)) * np.geomspace(0.3, 3, 12)
    b = a[:, :3] @ [0.2, 0.5, 0.3] + 0.3 * generator.normal(size=50)
    x = cp.Variable(12)
    constraints = [x >= 0, cp.sum(x) == 1]
    objective = cp.sum_squares(a @ x - b)
    cp.Problem(cp.Minimize(objective), constraints).solve(solver=cp.CLARABEL)
    features, target = torch.tensor(a), torch.tensor(b)
    weight = nn.Parameter(torch.full((12,), 1 / 12, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], start)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1e-7 ** (1 / STEPS))
    project_after_step(optimizer, {weight: constraints}, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (features @ weight - target).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return float((features @ weight.detach() - target).square().sum()) - float(np.asarray(objective.value))


def steps_at_bound(
    optimizer_class: Callable[..., torch.optim.Optimizer], options: dict[str, Any], **settings: float
) -> int:
    """Return how many steps after the turn weights are still at the bound."""
    x = cp.Variable(4)
    weight = nn.Parameter(torch.zeros(4))
    optimizer = optimizer_class([weight], **settings)
    project_after_step(optimizer, {weight: [x >= -1, x <= 1]}, **options)
    for step in range(2 * PUSH):
        weight.grad = torch.full((4,), -1.0 if step < PUSH else 0.2)
        optimizer.step()
        if step >= PUSH and bool((weight < 1).all()):
            return step - PUSH
    return PUSH


def main() -> None:
    """Print both tables."""
    print(f"{'simplex regression, Adam':34}{'lr 0.1':>12}{'lr 0.01':>12}")
    for metric in ("euclidean", "optimizer"):
        for clear in (False, True):
            options = {"metric": metric, "clear_momentum": clear}
            excess = [simplex_regression(options, start) for start in (0.1, 0.01)]
            name = f"{metric} metric" + (", momentum cleared" if clear else "")
            print(f"{name:34}{excess[0]:12.1e}{excess[1]:12.1e}")
    print(f"\n{'a gradient that turns':34}{'kept':>12}{'cleared':>12}   (steps at the bound)")
    for own, settings in (
        (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
        (torch.optim.SGD, {"lr": 0.01, "momentum": 0.99}),
        (torch.optim.Adam, {"lr": 0.01}),
    ):
        counts = [steps_at_bound(own, {"clear_momentum": clear}, **settings) for clear in (False, True)]
        name = f"{own.__name__}, {', '.join(f'{k} {v}' for k, v in settings.items())}"
        print(f"{name:34}{counts[0]:12}{counts[1]:12}")


if __name__ == "__main__":
    main()
