"""Optimizers of all kinds, a set for their weights, and a step towards a target."""

import cvxpy as cp
import torch

from optlayers import FeasibleSet

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.1),
    "fused": lambda p: torch.optim.Adam(p, 0.1, fused=True),
    "foreach": lambda p: torch.optim.AdamW(p, 0.1, foreach=True),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.1, amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p, 0.1),
    "radam": lambda p: torch.optim.RAdam(p, 0.1),
    "adamax": lambda p: torch.optim.Adamax(p, 0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.5),
    "centered": lambda p: torch.optim.RMSprop(p, 0.1, centered=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1),
}


def simplex(n: int) -> FeasibleSet:
    x = cp.Variable(n)
    return FeasibleSet([x >= 0, cp.sum(x) == 1])


def step(optimizer, weight, target):
    def closure():
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
