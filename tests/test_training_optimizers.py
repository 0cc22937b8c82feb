"""The augmented Lagrangian's defaults converge under the usual optimizers, at several learning rates."""

import math

import cvxpy as cp
import torch
from torch import nn

from optlayers import constrain

OPTIMIZERS = {
    "sgd": (lambda p, lr: torch.optim.SGD([p], lr), (0.3, 0.1, 0.01)),
    "momentum": (lambda p, lr: torch.optim.SGD([p], lr, momentum=0.9), (0.1, 0.01, 0.001)),
    "adam": (lambda p, lr: torch.optim.Adam([p], lr), (0.05, 0.01, 0.001)),
    "adamw": (lambda p, lr: torch.optim.AdamW([p], lr), (0.05, 0.01, 0.001)),
    "rmsprop": (lambda p, lr: torch.optim.RMSprop([p], lr), (0.05, 0.01, 0.001)),
}
RUNS = [(name, lr) for name, (_, rates) in OPTIMIZERS.items() for lr in rates]


def test_least_squares_with_rows_on_the_simplex() -> None:
    """All runs at once: one constrained tensor, of which each optimizer has a slice; the optimum is CVXPY's."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 8, dtype=torch.float64, generator=generator)
    truth = torch.rand(3, 8, dtype=torch.float64, generator=generator)
    truth = truth / truth.sum(-1, keepdim=True) + 0.2 * torch.randn(3, 8, dtype=torch.float64, generator=generator)
    wanted = features @ truth.T

    def objective(weight: torch.Tensor) -> torch.Tensor:
        return (features @ weight.mT - wanted).square().mean((-1, -2))

    w, row = cp.Variable((3, 8)), cp.Variable(8)
    loss = cp.sum_squares(features.numpy() @ w.T - wanted.numpy()) / wanted.numel()
    best = cp.Problem(cp.Minimize(loss), [w >= 0, cp.sum(w, axis=1) == 1]).solve(solver=cp.CLARABEL)

    start = (torch.rand(3, 8, dtype=torch.float64, generator=generator) * 2 - 1) / math.sqrt(8)
    module = nn.Module()
    module.weight = nn.Parameter(start.expand(len(RUNS), 3, 8).clone())
    held = constrain(module, "weight", [row >= 0, cp.sum(row) == 1], "augmented_lagrangian")
    slices = [nn.Parameter(module.weight.data[k]) for k in range(len(RUNS))]
    optimizers = [OPTIMIZERS[name][0](part, lr) for part, (name, lr) in zip(slices, RUNS, strict=True)]
    largest = torch.zeros(len(RUNS), dtype=torch.float64)
    for step in range(2000):
        module.weight.grad = None
        held(objective(module.weight).sum()).backward()
        for part, gradient, optimizer in zip(slices, module.weight.grad, optimizers, strict=True):
            part.grad = gradient
            optimizer.step()
        held.step()
        if step >= 1900:
            violation = held.feasible_set.violation(module.weight.detach()).amax(-1)
            largest = torch.maximum(largest, violation)
    gaps = objective(held.feasible_set.project(module.weight.detach())) - best
    for (name, lr), violation, gap in zip(RUNS, largest.tolist(), gaps.tolist(), strict=True):
        # without momentum, RMSprop goes back and forth by its learning rate
        assert violation < (10 * lr if name == "rmsprop" else 2e-3), (name, lr, violation)
        assert gap < (lr if name == "rmsprop" else 1e-4), (name, lr, gap)
