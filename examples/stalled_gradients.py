"""Where the exact gradient of a projection stalls, and what helps: `python examples/stalled_gradients.py`.

A free tensor is trained through a projection, from a start far outside the set. There the exact Jacobian is zero
across the active constraints: of a box's or a simplex's corner, nothing is left of the gradient, and training never
begins. The two options of `ProjectionLayer` do begin: `gradient="straight_through"` hands the gradient through
unchanged, `pull=weight` brings the point back to the set, where the exact gradient tells directions apart (momentum
takes it over the boundary). With both, and ``pull = 1 / learning rate``, steps are those of projected gradient descent.

Printed: for each set how far the loss ends above the optimum that CVXPY finds, and how far outside the free tensor is.
Last, an encoder that starts saturated learns to route inputs to the corners of a simplex.
"""

from __future__ import annotations

import argparse

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor, nn

from optlayers import FeasibleSet, ProjectionLayer

SIZE, RATE = 8, 0.05
OPTIONS: dict[str, dict] = {
    "exact": {},
    "exact, pull 1": {"pull": 1.0},
    "straight-through": {"gradient": "straight_through"},
    "straight-through, pull 1/lr": {"gradient": "straight_through", "pull": 1 / RATE},
}


def regression(feasible: FeasibleSet, variable: cp.Variable, options: dict, steps: int) -> tuple[float, float]:
    """Fit a least-squares model from far outside; return the gap to the optimum and the distance from the set."""
    generator = np.random.default_rng(0)
    matrix, right = generator.normal(size=(40, SIZE)), generator.normal(size=40)
    scale = 1 / np.linalg.norm(matrix, 2) ** 2
    problem = cp.Problem(cp.Minimize(scale / 2 * cp.sum_squares(matrix @ variable - right)), feasible.constraints)
    problem.solve(solver=cp.CLARABEL)
    optimum = float(np.asarray(problem.value))
    inputs, targets = torch.tensor(matrix), torch.tensor(right)
    layer = ProjectionLayer(feasible, **options)
    free = torch.full((SIZE,), 5.0, dtype=torch.float64)
    free[0] = 20.0  # the nearest point is a corner, of the box and of the simplex
    free.requires_grad_()
    optimizer = torch.optim.SGD([free], lr=RATE, momentum=0.9)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = scale / 2 * (inputs @ layer(free) - targets).square().sum()
        loss.backward()
        optimizer.step()
    return abs(loss.item() - optimum), layer.distance(free.detach()).mul(2).sqrt().item()


def routing(options: dict, steps: int) -> float:
    """Train an encoder whose outputs start far outside a simplex; return its accuracy."""
    torch.manual_seed(0)
    classes = 4
    weights = cp.Variable(classes)
    layer = ProjectionLayer([weights >= 0, cp.sum(weights) == 1], **options)
    centers = 3 * torch.randn(classes, SIZE)
    labels = torch.arange(400) % classes
    inputs = centers[labels] + 0.5 * torch.randn(400, SIZE)
    encoder = nn.Linear(SIZE, classes)
    with torch.no_grad():
        encoder.bias[0] += 30.0  # everything goes to the first expert
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        routed: Tensor = layer(encoder(inputs))
        (routed - nn.functional.one_hot(labels, classes)).square().sum(-1).mean().backward()
        optimizer.step()
    return (layer(encoder(inputs)).argmax(-1) == labels).double().mean().item()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--steps", type=int, default=3000)
    steps = parser.parse_args().steps
    x = cp.Variable(SIZE)
    sets = {"box": FeasibleSet([x >= -0.1, x <= 0.1]), "simplex": FeasibleSet([x >= 0, cp.sum(x) == 1])}
    print(f"{'set':10}{'gradient':30}{'loss - optimum':>16}{'distance':>12}")
    for name, feasible in sets.items():
        for label, options in OPTIONS.items():
            gap, distance = regression(feasible, x, options, steps)
            print(f"{name:10}{label:30}{gap:16.1e}{distance:12.2g}")
    print(f"\n{'encoder':10}{'gradient':30}{'accuracy':>16}")
    for label, options in OPTIONS.items():
        if "pull" in options:  # a sample's share of a mean loss
            options = options | {"pull": 1.0 / 400}
        print(f"{'routing':10}{label.replace('pull 1/lr', 'pull'):30}{routing(options, steps // 3):16.3f}")


if __name__ == "__main__":
    main()
